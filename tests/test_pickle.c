/* test_pickle.c - pickles as data: every opcode, what CPython writes in every protocol, and what no honest
 * program writes.
 *
 * A tree is compared as text: render() writes it much as Python would. */
#include "check.h"

#include <stdbool.h>

#include "../nn/pickle.h"

#define BYTES(text) (text), sizeof(text) - 1

/* ---- rendering ----------------------------------------------------------------------------------------- */

typedef struct text {
    char bytes[4096];
    size_t length;
} text;

static void put(text *t, const char *s) {
    size_t n = strlen(s);
    assert_true(t->length + n < sizeof t->bytes);
    memcpy(t->bytes + t->length, s, n + 1);
    t->length += n;
}

static void put_text(text *t, const pickle_value *v, const char *before, const char *after) {
    put(t, before);
    for (uint32_t i = 0; i < v->count; i++) {
        char c[8] = {v->text[i]};
        if ((unsigned char)c[0] < 32) snprintf(c, sizeof c, "\\%o", (unsigned)v->text[i]);
        put(t, c);
    }
    assert_int_equal(v->text[v->count], '\0');
    put(t, after);
}

static void render(text *t, const pickle_value *v) {
    static const char *const open[] = {[PICKLE_TUPLE] = "(", [PICKLE_LIST] = "[", [PICKLE_DICT] = "{"};
    static const char *const close[] = {[PICKLE_TUPLE] = ")", [PICKLE_LIST] = "]", [PICKLE_DICT] = "}"};
    char number[64] = "";
    switch (v->kind) {
    case PICKLE_NONE: put(t, "None"); break;
    case PICKLE_BOOL: put(t, v->integer ? "True" : "False"); break;
    case PICKLE_BIG: put(t, "big"); break;
    case PICKLE_INT: snprintf(number, sizeof number, "%lld", (long long)v->integer); break;
    case PICKLE_FLOAT: snprintf(number, sizeof number, "%.17g", v->real); break;
    case PICKLE_STRING: put_text(t, v, "'", "'"); break;
    case PICKLE_BYTES: put_text(t, v, "b'", "'"); break;
    case PICKLE_GLOBAL: put_text(t, v, "", ""); break;
    case PICKLE_OBJECT:
        render(t, v->item[0]);
        put(t, "@");
        render(t, v->item[1]);
        break;
    case PICKLE_PERSISTENT:
        put(t, "<");
        render(t, v->item[0]);
        put(t, ">");
        break;
    case PICKLE_TUPLE:
    case PICKLE_LIST:
    case PICKLE_DICT:
        put(t, open[v->kind]);
        for (uint32_t i = 0; i < v->count; i++) {
            if (i) put(t, v->kind == PICKLE_DICT && i % 2 ? ": " : ", ");
            render(t, v->item[i]);
        }
        put(t, close[v->kind]);
        break;
    }
    put(t, number);
}

static pickle *read_good(const char *bytes, size_t n) {
    pickle *p;
    nn_error e = {0};
    size_t used;
    if (pickle_read(&p, bytes, n, &used, "test.pkl", &e)) fail_msg("%s", e.text);
    assert_int_equal(used, n);
    return p;
}

static void expect(const char *bytes, size_t n, const char *want) {
    text t = {.length = 0};
    pickle *p = read_good(bytes, n);
    render(&t, pickle_root(p));
    assert_string_equal(t.bytes, want);
    pickle_free(p);
}

/* Refused with a line that names the file and says `word`. */
static void refuse(const char *bytes, size_t n, const char *word) {
    pickle *p;
    nn_error e = {0};
    size_t used;
    assert_int_equal(pickle_read(&p, bytes, n, &used, "test.pkl", &e), NN_ERROR_FORMAT);
    assert_null(p);
    if (!strstr(e.text, word) || !strstr(e.text, "test.pkl"))
        fail_msg("\"%s\" does not say \"%s\"", e.text, word);
}

/* ---- what is right ------------------------------------------------------------------------------------- */

/* {'a': [1, -2, 300, 70000, 2^40, -2^33, 2.5, True, None], 'é': (b'\0\xff', (), (1,), ...), 's': {7},
 * 'f': frozenset({8}), 'od': OrderedDict(k='v'), 'big': 2^70, 3: {}} by CPython 3.11, protocols 0 to 5. */
static const struct {
    const char *bytes;
    size_t n;
} protocols[] = {
    {BYTES("(dp0\012Va\012p1\012(lp2\012I1\012aI-2\012aI300\012aI70000\012aL1099511627776L\012aL-8589"
           "934592L\012aF2.5\012aI01\012aNasV\351\012p3\012(c_codecs\012encode\012p4\012(V\134u0000\377"
           "\012p5\012Vlatin1\012p6\012tp7\012Rp8\012(t(I1\012tp9\012(I1\012I2\012tp10\012(I1\012I2\012"
           "I3\012tp11\012(I1\012I2\012I3\012I4\012tp12\012tp13\012sVs\012p14\012c__builtin__\012set\012"
           "p15\012((lp16\012I7\012atp17\012Rp18\012sVf\012p19\012c__builtin__\012frozenset\012p20\012"
           "((lp21\012I8\012atp22\012Rp23\012sVod\012p24\012ccollections\012OrderedDict\012p25\012(tR"
           "p26\012Vk\012p27\012Vv\012p28\012ssVbig\012p29\012L1180591620717411303424L\012sI3\012(dp3"
           "0\012s.")},
    {BYTES("}q\000(X\001\000\000\000aq\001]q\002(K\001J\376\377\377\377M,\001Jp\021\001\000L109951162"
           "7776L\012L-8589934592L\012G@\004\000\000\000\000\000\000I01\012NeX\002\000\000\000\303\251"
           "q\003(c_codecs\012encode\012q\004(X\003\000\000\000\000\303\277q\005X\006\000\000\000lati"
           "n1q\006tq\007Rq\010)(K\001tq\011(K\001K\002tq\012(K\001K\002K\003tq\013(K\001K\002K\003K\004"
           "tq\014tq\015X\001\000\000\000sq\016c__builtin__\012set\012q\017(]q\020K\007atq\021Rq\022X"
           "\001\000\000\000fq\023c__builtin__\012frozenset\012q\024(]q\025K\010atq\026Rq\027X\002\000"
           "\000\000odq\030ccollections\012OrderedDict\012q\031)Rq\032X\001\000\000\000kq\033X\001\000"
           "\000\000vq\034sX\003\000\000\000bigq\035L1180591620717411303424L\012K\003}q\036u.")},
    {BYTES("\200\002}q\000(X\001\000\000\000aq\001]q\002(K\001J\376\377\377\377M,\001Jp\021\001\000\212"
           "\006\000\000\000\000\000\001\212\005\000\000\000\000\376G@\004\000\000\000\000\000\000\210"
           "NeX\002\000\000\000\303\251q\003(c_codecs\012encode\012q\004X\003\000\000\000\000\303\277"
           "q\005X\006\000\000\000latin1q\006\206q\007Rq\010)K\001\205q\011K\001K\002\206q\012K\001K\002"
           "K\003\207q\013(K\001K\002K\003K\004tq\014tq\015X\001\000\000\000sq\016c__builtin__\012set"
           "\012q\017]q\020K\007a\205q\021Rq\022X\001\000\000\000fq\023c__builtin__\012frozenset\012q"
           "\024]q\025K\010a\205q\026Rq\027X\002\000\000\000odq\030ccollections\012OrderedDict\012q\031"
           ")Rq\032X\001\000\000\000kq\033X\001\000\000\000vq\034sX\003\000\000\000bigq\035\212\011\000"
           "\000\000\000\000\000\000\000@K\003}q\036u.")},
    {BYTES("\200\003}q\000(X\001\000\000\000aq\001]q\002(K\001J\376\377\377\377M,\001Jp\021\001\000\212"
           "\006\000\000\000\000\000\001\212\005\000\000\000\000\376G@\004\000\000\000\000\000\000\210"
           "NeX\002\000\000\000\303\251q\003(C\002\000\377q\004)K\001\205q\005K\001K\002\206q\006K\001"
           "K\002K\003\207q\007(K\001K\002K\003K\004tq\010tq\011X\001\000\000\000sq\012cbuiltins\012s"
           "et\012q\013]q\014K\007a\205q\015Rq\016X\001\000\000\000fq\017cbuiltins\012frozenset\012q\020"
           "]q\021K\010a\205q\022Rq\023X\002\000\000\000odq\024ccollections\012OrderedDict\012q\025)R"
           "q\026X\001\000\000\000kq\027X\001\000\000\000vq\030sX\003\000\000\000bigq\031\212\011\000"
           "\000\000\000\000\000\000\000@K\003}q\032u.")},
    {BYTES("\200\004\225\270\000\000\000\000\000\000\000}\224(\214\001a\224]\224(K\001J\376\377\377\377"
           "M,\001Jp\021\001\000\212\006\000\000\000\000\000\001\212\005\000\000\000\000\376G@\004\000"
           "\000\000\000\000\000\210Ne\214\002\303\251\224(C\002\000\377\224)K\001\205\224K\001K\002\206"
           "\224K\001K\002K\003\207\224(K\001K\002K\003K\004t\224t\224\214\001s\224\217\224(K\007\220"
           "\214\001f\224(K\010\221\224\214\002od\224\214\013collections\224\214\013OrderedDict\224\223"
           "\224)R\224\214\001k\224\214\001v\224s\214\003big\224\212\011\000\000\000\000\000\000\000\000"
           "@K\003}\224u.")},
    {BYTES("\200\005\225\270\000\000\000\000\000\000\000}\224(\214\001a\224]\224(K\001J\376\377\377\377"
           "M,\001Jp\021\001\000\212\006\000\000\000\000\000\001\212\005\000\000\000\000\376G@\004\000"
           "\000\000\000\000\000\210Ne\214\002\303\251\224(C\002\000\377\224)K\001\205\224K\001K\002\206"
           "\224K\001K\002K\003\207\224(K\001K\002K\003K\004t\224t\224\214\001s\224\217\224(K\007\220"
           "\214\001f\224(K\010\221\224\214\002od\224\214\013collections\224\214\013OrderedDict\224\223"
           "\224)R\224\214\001k\224\214\001v\224s\214\003big\224\212\011\000\000\000\000\000\000\000\000"
           "@K\003}\224u.")},
};

static const char all_protocols[] = "{'a': [1, -2, 300, 70000, 1099511627776, -8589934592, 2.5, True, None], "
                                    "'é': (b'\\0\xff', (), (1), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 's': [7], "
                                    "'f': [8], 'od': {'k': 'v'}, 'big': big, 3: {}}";

static void test_what_cpython_writes_in_every_protocol(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        expect(protocols[i].bytes, protocols[i].n, all_protocols);
}

static const struct good {
    const char *bytes;
    size_t n;
    const char *want;
} good[] = {
    {BYTES("N."), "None"},
    {BYTES("\x80\5\x88."), "True"},
    {BYTES("I00\n."), "False"},
    {BYTES("I-12\n."), "-12"},
    {BYTES("I9223372036854775808\n."), "big"},
    {BYTES("L-5L\n."), "-5"},
    {BYTES("K\xff."), "255"},
    {BYTES("M\1\2."), "513"},
    {BYTES("J\xff\xff\xff\xff."), "-1"},
    {BYTES("\x8a\0."), "0"},
    {BYTES("\x8a\1\x80."), "-128"},
    {BYTES("\x8a\2\xff\0."), "255"},
    {BYTES("\x8a\10\0\0\0\0\0\0\0\x80."), "-9223372036854775808"},
    {BYTES("\x8a\11\0\0\0\0\0\0\0\x80\0."), "big"},
    {BYTES("\x8b\2\0\0\0\1\1."), "257"},
    {BYTES("F-0.5\n."), "-0.5"},
    {BYTES("G\x3f\xf8\0\0\0\0\0\0."), "1.5"},
    {BYTES("S'a\\n\\x41\\101\\\\'\r\n."), "'a\\12AA\\'"},
    {BYTES("S\"q'\"\n."), "'q''"},
    {BYTES("Va\xe9\\u540d\\U0001f600\\n\n."), "'aé名😀\\n'"},
    {BYTES("T\2\0\0\0ab."), "'ab'"},
    {BYTES("U\1c."), "'c'"},
    {BYTES("X\0\0\0\0."), "''"},
    {BYTES("\x8c\3\0ab."), "'\\0ab'"},
    {BYTES("\x8d\1\0\0\0\0\0\0\0z."), "'z'"},
    {BYTES("B\1\0\0\0b."), "b'b'"},
    {BYTES("C\1c."), "b'c'"},
    {BYTES("\x8e\1\0\0\0\0\0\0\0d."), "b'd'"},
    {BYTES("\x96\1\0\0\0\0\0\0\0e."), "b'e'"},
    {BYTES("(K\1K\2t."), "(1, 2)"},
    {BYTES("(K\1K\2l."), "[1, 2]"},
    {BYTES("(K\1K\2d."), "{1: 2}"},
    {BYTES("(K\1\x91."), "[1]"},
    {BYTES("]K\1a."), "[1]"},
    {BYTES("](K\1K\2e."), "[1, 2]"},
    {BYTES("\x8f(K\1K\2\x90."), "[1, 2]"},
    {BYTES("}K\1K\2s."), "{1: 2}"},
    {BYTES("}(K\1K\2K\3K\4u."), "{1: 2, 3: 4}"},
    {BYTES(")\x85K\1\x86K\2K\3\x87."), "(((()), 1), 2, 3)"},
    {BYTES("K\1"
           "2\x86."),
     "(1, 1)"},
    {BYTES("K\1K\2"
           "0."),
     "1"},
    {BYTES("K\1("
           "0."),
     "1"},
    {BYTES("K\1(K\2K\3"
           "1."),
     "1"},
    {BYTES("K\7q\0"
           "0h\0."),
     "7"},
    {BYTES("K\7r\0\1\0\0"
           "0j\0\1\0\0."),
     "7"},
    {BYTES("K\7p10\n0g10\n."), "7"},
    {BYTES("K\7\x94K\x8\x94\x30h\0\x86."), "(7, 7)"},
    {BYTES("\x95\2\0\0\0\0\0\0\0N."), "None"},
    {BYTES("ca.b\nC\n."), "a.b.C"},
    {BYTES("\x8c\3a.b\x8c\1C\x93."), "a.b.C"},
    {BYTES("ca\nC\nK\1\x85R."), "a.C@(1)"},
    {BYTES("ca\nC\n)\x81}b."), "a.C@()"},
    {BYTES("ca\nC\n)}\x92."), "a.C@()"},
    {BYTES("(K\1ia\nC\n."), "a.C@(1)"},
    {BYTES("(ca\nC\nK\1o."), "a.C@(1)"},
    {BYTES("ca\nC\n)R(K\1K\2u(K\1eK\3a."), "a.C@()"}, /* an object takes items, and forgets them */
    {BYTES("ccollections\nOrderedDict\n]K\1K\2\x86"
           "a\x85R."),
     "{1: 2}"},
    {BYTES("ccollections\ndefaultdict\nca\nC\n\x85RK\1K\2s."), "{1: 2}"},
    {BYTES("c__builtin__\nbytes\n)R."), "b''"},
    {BYTES("c_codecs\nencode\nX\3\0\0\0a\xc3\xbfX\6\0\0\0latin1\x86R."), "b'a\xff'"},
    {BYTES("c__builtin__\ngetattr\ncx\nY\nU\1z\x86R."), "__builtin__.getattr@(x.Y, 'z')"},
    {BYTES("U\1kQ."), "<'k'>"},
    {BYTES("Pkey\n."), "<'key'>"},
};

static void test_every_opcode(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) expect(good[i].bytes, good[i].n, good[i].want);
}

static void test_bytes_after_the_end_are_left_alone(void **state) {
    (void)state;
    pickle *p;
    size_t used;
    assert_int_equal(pickle_read(&p, "K\1.more", 7, &used, "test.pkl", NULL), 0);
    assert_int_equal(used, 3);
    assert_int_equal(pickle_root(p)->integer, 1);
    pickle_free(p);
    pickle_free(NULL);
}

static void test_persistents_are_listed_reached_or_not(void **state) {
    (void)state;
    pickle *p = read_good(BYTES("U\1aQ0U\1bQ."));
    const pickle_value *all = pickle_persistents(p);
    assert_int_equal(all->count, 2);
    assert_true(pickle_is_text(all->item[0]->item[0], "a"));
    assert_ptr_equal(all->item[1], pickle_root(p));
    pickle_free(p);
}

static void test_find(void **state) {
    (void)state;
    pickle *p = read_good(BYTES("}(U\1aK\1U\1bK\2U\1aK\3ca\nb\nK\4u."));
    const pickle_value *root = pickle_root(p);
    assert_int_equal(pickle_find(root, "a")->integer, 3); /* the last one set, as in Python */
    assert_int_equal(pickle_find(root, "b")->integer, 2);
    assert_null(pickle_find(root, "c"));
    assert_null(pickle_find(root, "a.b")); /* that is a class */
    assert_null(pickle_find(root->item[0], "a"));
    assert_null(pickle_find(NULL, "a"));
    pickle_free(p);
}

/* ---- what is wrong ------------------------------------------------------------------------------------- */

static const struct good bad[] = {
    {BYTES(""), "ends early"},
    {BYTES("N"), "ends early"},
    {BYTES("\xff"), "no instruction"},
    {BYTES("."), "one value"},
    {BYTES("NN."), "one value"},
    {BYTES("(."), "one value"},
    {BYTES("\x80\6N."), "newer protocol"},
    {BYTES("\x95\xff\0\0\0\0\0\0\0N."), "ends early"},
    {BYTES("0"), "empty stack"},
    {BYTES("2"), "empty stack"},
    {BYTES("q\0"), "empty stack"},
    {BYTES("\x94"), "empty stack"},
    {BYTES("(q\0"), "empty stack"},
    {BYTES("(2"), "empty stack"},
    {BYTES("\x85"), "empty stack"},
    {BYTES("N(\x86"), "empty stack"},
    {BYTES("N\x87"), "empty stack"},
    {BYTES("a"), "empty stack"},
    {BYTES("Na"), "empty stack"},
    {BYTES("NNa"), "no list"},
    {BYTES("]NNs"), "no list"},
    {BYTES("}Na"), "no list"},
    {BYTES("N(Ne"), "no list"},
    {BYTES("(Ns"), "empty stack"},
    {BYTES("e"), "mark"},
    {BYTES("]Ne"), "mark"},
    {BYTES("(Ne"), "empty stack"},
    {BYTES("t"), "mark"},
    {BYTES("1"), "mark"},
    {BYTES("(Nd"), "key without a value"},
    {BYTES("}(Nu"), "key without a value"},
    {BYTES("h\0"), "never stored"},
    {BYTES("K\1q\3h\2"), "never stored"},
    {BYTES("j\xff\xff\xff\xff"), "never stored"},
    {BYTES("Nr\xff\xff\xff\xff"), "524288"},
    {BYTES("Nr\0\0\10\0"), "524288"},
    {BYTES("Np99999999999999999999999999\n"), "524288"},
    {BYTES("Np-1\n"), "number"},
    {BYTES("Np\n"), "number"},
    {BYTES("I\n"), "number"},
    {BYTES("Iab\n"), "number"},
    {BYTES("I1L2\n"), "number"},
    {BYTES("Fx\n"), "number"},
    {BYTES("I12"), "ends early"},
    {BYTES("Sab\n"), "quotes"},
    {BYTES("S'ab\"\n"), "quotes"},
    {BYTES("S'\n"), "quotes"},
    {BYTES("S'\\xg1'\n"), "escape"},
    {BYTES("S'\\'\n"), "escape"},
    {BYTES("V\\u12\n"), "escape"},
    {BYTES("V\\U00110000\n"), "escape"},
    {BYTES("X\xff\xff\xff\xff"
           "abc"),
     "ends early"},
    {BYTES("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
           "abc"),
     "ends early"},
    {BYTES("\x8b\xff\xff\xff\xff"
           "abc"),
     "ends early"},
    {BYTES("ca\n"), "ends early"},
    {BYTES("c\nb\n"), "without a name"},
    {BYTES("ca\n\n"), "without a name"},
    {BYTES("ca\0b\nc\n"), "without a name"},
    {BYTES("NN\x93"), "without a name"},
    {BYTES("(o"), "without a class"},
    {BYTES("R"), "empty stack"},
    {BYTES("NR"), "empty stack"},
    {BYTES("b"), "empty stack"},
    {BYTES("Nb"), "empty stack"},
    {BYTES("Q"), "empty stack"},
    {BYTES("\x82\1"), "outside the file"},
    {BYTES("\x83\1\1"), "outside the file"},
    {BYTES("\x84\1\1\1\1"), "outside the file"},
    {BYTES("\x97"), "outside the file"},
    {BYTES("N\x98"), "outside the file"},
};

static void test_broken_pickles(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) refuse(bad[i].bytes, bad[i].n, bad[i].want);
}

/* Named wherever the name appears, called or not. */
static void test_code_is_refused_by_name(void **state) {
    (void)state;
    static const char *const attacks[][2] = {
        {"os", "system"},
        {"posix", "system"},
        {"nt", "system"},
        {"subprocess", "Popen"},
        {"builtins", "eval"},
        {"__builtin__", "execfile"},
        {"builtins", "exec"},
        {"builtins", "open"},
        {"builtins", "__import__"},
        {"sys", "exit"},
        {"shutil", "rmtree"},
        {"socket", "socket"},
        {"os.path", "join"},
        {"runpy", "run_path"},
        {"importlib", "import_module"},
        {"torch", "os.system"},
        {"torch._inductor", "subprocess.Popen"},
        {"ctypes", "CDLL"},
        {"webbrowser", "open"},
        {"pickle", "loads"},
    };
    static const char *const data[][2] = {
        {"argparse", "Namespace"}, {"fairseq.data.dictionary", "Dictionary"},
        {"builtins", "getattr"},   {"numpy.core.multiarray", "scalar"},
        {"pathlib", "PosixPath"},  {"__builtin__", "set"},
        {"builtins", "len"},       {"omegaconf.dictconfig", "DictConfig"},
        {"my.system", "os"},       {"oscar", "system"},
        {"builtins", "complex"},
    };
    char bytes[128], name[128];
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        int n = snprintf(bytes, sizeof bytes, "c%s\n%s\nU\1x\x85R.", attacks[i][0], attacks[i][1]);
        snprintf(name, sizeof name, "calls for %s.%s. Nothing was run", attacks[i][0], attacks[i][1]);
        refuse(bytes, (size_t)n, name);
    }
    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++) {
        int n = snprintf(bytes, sizeof bytes, "c%s\n%s\n.", data[i][0], data[i][1]);
        snprintf(name, sizeof name, "%s.%s", data[i][0], data[i][1]);
        expect(bytes, (size_t)n, name);
    }
    refuse(BYTES("U\2osU\6system\x93."), "os.system");
    refuse(BYTES("(U\2lsios\nsystem\n."), "os.system");
    refuse(BYTES("Ncos\nsystem\n0."), "os.system");
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof protocols / sizeof protocols[0]; k++)
        for (size_t n = 0; n < protocols[k].n; n++) {
            char *exact = malloc(n + 1); /* so that reading past the end is seen */
            assert_non_null(exact);
            memcpy(exact, protocols[k].bytes, n);
            refuse(exact, n, "its pickle");
            free(exact);
        }
}

/* Every byte given every value: a tree or a line, never a crash. */
static void test_every_byte_changed(void **state) {
    (void)state;
    size_t trees = 0, lines = 0;
    for (size_t k = 2; k < sizeof protocols / sizeof protocols[0]; k += 2)
        for (size_t i = 0; i < protocols[k].n; i++)
            for (int c = 0; c < 256; c++) {
                char copy[512];
                pickle *p;
                char *json;
                size_t used;
                nn_error e = {0};
                memcpy(copy, protocols[k].bytes, protocols[k].n);
                copy[i] = (char)c;
                if (pickle_read(&p, copy, protocols[k].n, &used, "test.pkl", &e)) {
                    lines += strlen(e.text) > 0;
                    continue;
                }
                trees++;
                assert_true(used <= protocols[k].n);
                (void)pickle_json(&json, pickle_root(p), NULL, "test.pkl", &e);
                free(json);
                pickle_free(p);
            }
    print_message("%zu trees, %zu refused\n", trees, lines);
    assert_true(trees > 0 && lines > trees / 10);
}

/* ---- bounds -------------------------------------------------------------------------------------------- */

/* `head`, then `unit` `times` times, then `tail`. */
static char *repeat(const char *head, size_t h, const char *unit, size_t u, size_t times, const char *tail,
                    size_t t, size_t *n) {
    char *bytes = malloc(h + u * times + t);
    assert_non_null(bytes);
    memcpy(bytes, head, h);
    for (size_t i = 0; i < times; i++) memcpy(bytes + h + i * u, unit, u);
    memcpy(bytes + h + u * times, tail, t);
    *n = h + u * times + t;
    return bytes;
}

static void test_bounds(void **state) {
    (void)state;
    static const struct {
        const char *head, *unit, *tail;
        size_t h, u, t, times;
        const char *word;
    } big[] = {
        {"", "(l", ".", 0, 2, 1, 200000, "65536 values"},             /* the stack */
        {"", "(", ".", 0, 1, 1, 100000, "65536 values"},              /* marks */
        {"]", "]a", ".", 1, 2, 1, 4000000, "32 MB"},                  /* values */
        {"]", "Na", ".", 1, 2, 1, 4000000, "32 MB"},                  /* the smallest values */
        {"", "N0", "N.", 0, 2, 2, 10 << 20, "32 MB"},                 /* values that are thrown away */
        {"", "\x80\2", "N.", 0, 2, 2, 10 << 20, "longer than 16 MB"}, /* nothing but the pickle */
    };
    for (size_t i = 0; i < sizeof big / sizeof big[0]; i++) {
        size_t n;
        char *bytes =
            repeat(big[i].head, big[i].h, big[i].unit, big[i].u, big[i].times, big[i].tail, big[i].t, &n);
        refuse(bytes, n, big[i].word);
        free(bytes);
    }
    size_t n;
    char *deep = repeat(BYTES("]"), BYTES("\x85"), 60000, BYTES("."), &n);
    pickle *p = read_good(deep, n); /* nested 60000 deep: read without recursion */
    pickle_free(p);
    free(deep);
    char name[600];
    memset(name, 'a', sizeof name);
    name[0] = 'c', name[590] = '\n', name[591] = 'b', name[592] = '\n', name[593] = '.';
    refuse(name, 594, "512 bytes");
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void expect_json(const char *bytes, size_t n, const char *want) {
    char *json;
    nn_error e = {0};
    pickle *p = read_good(bytes, n);
    if (pickle_json(&json, pickle_root(p), NULL, "test.pkl", &e)) fail_msg("%s", e.text);
    if (want)
        assert_string_equal(json, want);
    else
        assert_null(json);
    free(json);
    pickle_free(p);
}

static void test_json(void **state) {
    (void)state;
    expect_json(BYTES("}(U\1aK\1U\1bG\x3f\xf8\0\0\0\0\0\0U\1c\x88U\1dNu."),
                "{\"a\":1,\"b\":1.5,\"c\":true,\"d\":null}");
    expect_json(BYTES("}K\3(K\1](K\2\x89"
                      "ets."),
                "{\"3\":[1,[2,false]]}");
    expect_json(BYTES("}U\1aX\10\0\0\0\"\\\n\xc3\xa9\xff\1\x7fs."),
                "{\"a\":\"\\u0022\\u005c\\u000aé\xef\xbf\xbd\\u0001\\u007f\"}");
    expect_json(BYTES("}U\1aG\x7f\xf0\0\0\0\0\0\0s."), "{\"a\":null}"); /* infinity */
    expect_json(BYTES("}U\1ach\nC\ns."), NULL);                         /* a class */
    expect_json(BYTES("}(U\1ach\nC\nU\1bK\1u."), "{\"b\":1}");
    expect_json(BYTES("}(U\1bK\1U\1ach\nC\nu."), "{\"b\":1}");
    expect_json(BYTES("}U\1a](ch\nC\nK\1es."), "{\"a\":[null,1]}"); /* places are kept */
    expect_json(BYTES("}U\1a]ch\nC\nas."), NULL);                   /* nothing plain in it */
    expect_json(BYTES("}U\1a}U\1bch\nC\nss."), NULL);
    expect_json(BYTES("}U\1a]s."), "{\"a\":[]}");
    expect_json(BYTES("}(K\1\x85K\2U\1aC\1bU\1cK\4u."), "{\"c\":4}"); /* a key that is a tuple; bytes */
    expect_json(BYTES("}U\1actorch\nSize\nK\2K\3\x86\x85Rs."), "{\"a\":[2,3]}");
    expect_json(BYTES("}U\1actorch\ndevice\nU\3cpu\x85Rs."), "{\"a\":\"cpu\"}");
    expect_json(BYTES("}U\1actorch\nfloat16\ns."), "{\"a\":\"torch.float16\"}");
    expect_json(BYTES("]K\1a."), NULL);
    expect_json(BYTES("}."), NULL);
}

static void refuse_json(const char *bytes, size_t n, const char *word) {
    char *json;
    nn_error e = {0};
    pickle *p = read_good(bytes, n);
    assert_int_equal(pickle_json(&json, pickle_root(p), NULL, "test.pkl", &e), NN_ERROR_FORMAT);
    assert_null(json);
    if (!strstr(e.text, word) || !strstr(e.text, "test.pkl"))
        fail_msg("\"%s\" does not say \"%s\"", e.text, word);
    pickle_free(p);
}

static void test_json_of_what_never_ends(void **state) {
    (void)state;
    refuse_json(BYTES("}U\1a]q\0h\0ash\0"
                      "0."),
                "64 deep"); /* a list that holds itself */
    size_t n;
    /* each list holds the one before ten times: 10^30 values */
    char *laughs =
        repeat(BYTES("}U\1a]q\0"), BYTES("0](h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0"), 30, BYTES("s."), &n);
    refuse_json(laughs, n, "");
    free(laughs);
    char *deep = repeat(BYTES("}U\1a]"), BYTES("\x85"), 100, BYTES("s."), &n);
    refuse_json(deep, n, "64 deep");
    free(deep);
    /* a dict whose one long key goes again for want of a plain value, in a list 4096 times */
    char *key = repeat(BYTES("}U\1a](}X\0\0\1\0"), BYTES("k"), 65536, BYTES("ch\nC\nsq\0"), &n);
    char *keys = repeat(key, n, BYTES("h\0"), 4096, BYTES("es."), &n);
    refuse_json(keys, n, "text");
    free(keys);
    free(key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_cpython_writes_in_every_protocol),
        cmocka_unit_test(test_every_opcode),
        cmocka_unit_test(test_bytes_after_the_end_are_left_alone),
        cmocka_unit_test(test_persistents_are_listed_reached_or_not),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_broken_pickles),
        cmocka_unit_test(test_code_is_refused_by_name),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_what_never_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
