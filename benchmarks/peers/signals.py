"""signals.py - what surrounds the networks: log-mel spectrogram, pitch decoding, the sine source, WAV files.

The formulas are those of mel/mel.c, rmvpe/decode.c and rvc/source.c, in NumPy's double precision where
nothing else is said; the sine source repeats float32's roundings, because recorded outputs contain them.
"""

import wave

import numpy as np
import torch
from torch.nn import functional as F

RATE, HOP, WINDOW, BANDS = 16000, 160, 1024, 128
NOISE_SCALE = np.float32(0.66666)
THRESHOLD = 0.03


def mel_filters():
    """[128, 513]: triangles on the HTK mel scale from 30 to 8000 Hz, each of area 1 (Slaney's
    normalisation)."""
    to_mel, to_hz = lambda f: 2595 * np.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)
    edges = to_hz(np.linspace(to_mel(30), to_mel(8000), BANDS + 2))[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    f = np.arange(WINDOW // 2 + 1) * (RATE / WINDOW)
    triangles = np.minimum((f - low) / (centre - low), (high - f) / (high - centre)).clip(0)
    return (triangles * 2 / (high - low)).astype(np.float32)


def log_mel(audio, dtype=torch.float32):
    """audio [n] at 16 kHz -> [128, n/160 + 1]. In float32, as the reference: where a band is all but silent,
    the logarithm shows the rounding of the transform. Window and filters are float32's in any case."""
    spectrum = torch.stft(torch.from_numpy(np.asarray(audio, np.float32)).to(dtype), WINDOW, HOP, WINDOW,
                          torch.hann_window(WINDOW).to(dtype), center=True, pad_mode="reflect", return_complex=True)
    return torch.log((torch.from_numpy(mel_filters()).to(dtype) @ spectrum.abs()).clamp(min=1e-5)).numpy()


def decode_hz(salience, weights=np.float64):
    """salience [T, 360] -> [T] in Hz, 0 where unvoiced: the weighted mean of the 9 classes around the largest.
    `weights` is what the saliences are summed in: float32 in RVC-WebUI, where numpy.sum keeps their type, which
    costs up to 0.001 cents."""
    padded = np.pad(salience.astype(weights), ((0, 0), (4, 4)))
    cents = np.pad(20 * np.arange(salience.shape[1]) + 1997.3794084376191, 4)
    around = salience.argmax(axis=1)[:, None] + np.arange(9)
    s = np.take_along_axis(padded, around, axis=1)
    hz = 10 * 2 ** ((s * cents[around]).sum(axis=1) / s.sum(axis=1) / 1200)
    return np.where(salience.max(axis=1) > THRESHOLD, hz, 0)


def decode_f0(salience):
    return decode_hz(salience).astype(np.float32)


def coarse_pitch(f0):
    """f0 [n] in Hz -> [n] in 1..255, on the mel scale between 50 and 1100 Hz; unvoiced is 1."""
    mel = lambda f: 1127 * np.log(1 + np.asarray(f, np.float64) / 700)
    m, low, high = mel(f0), mel(50), mel(1100)
    return np.rint(np.where(m > 0, (m - low) * 254 / (high - low) + 1, 1).clip(1, 255)).astype(np.int32)


def sine_source(f0, upp, rate, noise):
    """f0 [T], noise [T*upp] standard normal -> [T*upp]: 0.1 sin(2 pi phase) + 0.003 noise where voiced, 0.1/3
    noise where not.

    The phase as RVC-WebUI sums it, in float32: f0/rate per sample, less 1 wherever a coarser phase,
    interpolated between frames, has wrapped. Whole turns change nothing but the rounding, and 100 dB needs
    the same rounding."""
    step = torch.from_numpy(np.asarray(f0, np.float32))[None, None] / rate
    frames = step.shape[2]
    coarse = torch.cumsum(step, dim=2) * upp
    coarse = F.interpolate(coarse, size=frames * upp, mode="linear", align_corners=True) % 1
    step = step.repeat_interleave(upp, dim=2)
    step[:, :, 1:] -= (coarse[:, :, 1:] - coarse[:, :, :-1] < 0).to(step.dtype)
    sine = 0.1 * torch.sin(torch.cumsum(step, dim=2) * 2 * np.pi)
    voiced = (torch.from_numpy(np.asarray(f0, np.float32)) > 0).repeat_interleave(upp)
    noise = torch.from_numpy(noise)
    return torch.where(voiced, sine[0, 0] + 0.003 * noise, (0.1 / 3) * noise)


def true_sine(f0, upp, rate, noise):
    """The same with the phase as it is meant, in double."""
    f0 = np.asarray(f0, np.float64)
    before = np.concatenate([[0], np.cumsum(f0 * upp / rate)[:-1]])
    phase = np.repeat(before, upp) + np.repeat(f0 / rate, upp) * np.tile(np.arange(1, upp + 1), len(f0))
    voiced = np.repeat(f0 > 0, upp)
    sine = np.where(voiced, 0.1 * np.sin(2 * np.pi * phase), 0)
    return torch.from_numpy(sine + np.where(voiced, 0.003, 0.1 / 3) * noise)


def read_wav(path):
    """Mono float32 at 16 kHz of a PCM WAV of 16, 24 or 32 bits."""
    try:
        with wave.open(path, "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            data = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    except wave.Error as error:
        raise SystemExit(f"{path}: {error}; save it as 16-bit PCM WAV first") from error
    if width < 2:
        raise SystemExit(f"{path}: 8-bit samples are too coarse for a reference; use 16-bit PCM")
    raw = np.zeros((len(data) // width, 4), np.uint8)
    raw[:, 4 - width:] = data[: len(raw) * width].reshape(-1, width)  # little-endian, filled up from below
    x = raw.view("<i4")[:, 0].reshape(-1, channels).mean(axis=1) / 2.0 ** 31
    return resampled(x, rate).astype(np.float32)


def resampled(x, rate):
    """To 16 kHz, through the whole signal's spectrum: ideal but for the ends, where the signal is taken to be
    0."""
    if rate == RATE:
        return x
    padding = rate // 2
    n, m = len(x), round(len(x) * RATE / rate)
    total = n + 2 * padding
    spectrum = np.fft.rfft(np.pad(x, padding))
    out = round(total * RATE / rate)
    bins = np.zeros(out // 2 + 1, complex)
    kept = min(len(bins), len(spectrum))
    bins[:kept] = spectrum[:kept]
    y = np.fft.irfft(bins, out) * (out / total)
    first = round(padding * RATE / rate)
    return y[first: first + m]


def snr_db(got, want):
    """10 log10(|want|^2 / |got - want|^2), in double."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    error = ((got - want) ** 2).sum()
    return float("inf") if error == 0 else float(10 * np.log10((want ** 2).sum() / error))
