# vulkan.mk - the Vulkan back end: shaders to SPIR-V (glslc) to C arrays, and its sources.
# Included by the Makefile between its list of sources and what is made from that list.
#
# Every NAME.comp becomes NAME.f32 and, with -DNN_F16, NAME.f16; NAME_matrix.comp is for float16 only, and becomes NAME.khr
# too, where the compiler knows GL_KHR_cooperative_matrix (else that file is empty and left out).

GLSLC       ?= glslc
vk          := $(BUILD)/vulkan
vk_shaders  := $(sort $(patsubst nn/vulkan/%.comp,%,$(wildcard nn/vulkan/*.comp)))
vk_names    := $(vk_shaders:%=%.f16) $(patsubst %,%.f32,$(filter-out %_matrix,$(vk_shaders))) \
               $(patsubst %,%.khr,$(filter %_matrix,$(vk_shaders)))
vk_spirv    := $(vk_names:%=$(vk)/%.spv)
library     += $(wildcard nn/vulkan/*.c) $(vk)/shaders.c
libs        += -ldl

glslc        = $(GLSLC) --target-env=vulkan1.2 -Werror -MD -MF $@.d -MT $@
$(vk)/%.f32.spv: nn/vulkan/%.comp
	$(say) GLSLC $<
	mkdir -p $(@D)
	$(glslc) $< -o $@
$(vk)/%.f16.spv: nn/vulkan/%.comp
	$(say) GLSLC '$< (f16)'
	mkdir -p $(@D)
	$(glslc) -DNN_F16 $< -o $@
$(vk)/%.khr.spv: nn/vulkan/%.comp
	mkdir -p $(@D)
	$(glslc) -DNN_F16 -DNN_KHR $< -o $@ 2>/dev/null || : > $@
-include $(vk_spirv:%=%.d)

# One C file of all words, and the table that finds them by name.
$(vk)/shaders.c: $(vk_spirv) nn/vulkan/vulkan.mk
	$(say) EMBED $@
	( echo '/* shaders.c - made by vulkan.mk */'; echo '#include "$(CURDIR)/nn/vulkan/device.h"'; \
	  cd $(vk); for name in $(vk_names); do [ -s $$name.spv ] || continue; \
	      echo "static const uint32_t code_$$(echo $$name | tr . _)[] = {"; \
	      od -An -v -tx4 -w32 $$name.spv | sed 's/ \([0-9a-f]\{8\}\)/0x\1,/g'; echo '};'; \
	  done; \
	  echo 'const nn_vk_shader nn_vk_shaders[] = {'; \
	  for name in $(vk_names); do [ -s $$name.spv ] || continue; \
	      id=code_$$(echo $$name | tr . _); echo "    {\"$$name\", $$id, sizeof $$id},"; \
	  done; \
	  echo '};'; echo 'const int nn_vk_shader_count = sizeof nn_vk_shaders / sizeof *nn_vk_shaders;' ) > $@

# Every shader is what SPIR-V allows: part of the tests.
.PHONY: check-shaders
check-shaders: $(vk_spirv)
	for file in $^; do [ ! -s $$file ] || spirv-val --target-env vulkan1.2 $$file || exit 1; done
