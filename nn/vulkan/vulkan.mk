# vulkan.mk - the Vulkan back end: shaders to SPIR-V (glslc) to C arrays, and its sources.
# Included by the Makefile between its list of sources and what is made from that list.
#
# Every NAME.comp becomes NAME.f32 and, with -DNN_F16, NAME.f16, compiled and optimised. NAME_matrix.comp, which uses
# cooperative matrices, becomes NAME.khr32 and NAME.khr16 too, by spirv/to_khr.c. (spirv-opt's own -O would run
# simplify-instructions, on which version 2023.1 crashes.)

vk          := $(BUILD)/vulkan
vk_shaders  := $(sort $(patsubst nn/vulkan/%.comp,%,$(wildcard nn/vulkan/*.comp)))
vk_f32_only := conv_image_matrix
vk_f16      := $(filter-out $(vk_f32_only),$(vk_shaders))
vk_names    := $(vk_f16:%=%.f16) $(vk_shaders:%=%.f32) $(patsubst %,%.khr16,$(filter %_matrix,$(vk_f16))) \
               $(patsubst %,%.khr32,$(filter %_matrix,$(vk_shaders)))
vk_spirv    := $(vk_names:%=$(vk)/%.spv)
library     += $(wildcard nn/vulkan/*.c) $(vk)/shaders.c
libs        += -ldl

glslc        = $(GLSLC) --target-env=vulkan1.2 -Werror -MD -MF $@.d -MT $@
spirv_opt    = $(SPIRV_OPT) --eliminate-dead-branches --merge-return --inline-entry-points-exhaustive \
    --eliminate-dead-functions --private-to-local --eliminate-local-single-block --eliminate-local-single-store \
    --eliminate-dead-code-aggressive --scalar-replacement=100 --convert-local-access-chains \
    --eliminate-local-single-block --eliminate-local-single-store --eliminate-dead-code-aggressive --ssa-rewrite \
    --eliminate-dead-code-aggressive --ccp --eliminate-dead-code-aggressive --redundancy-elimination \
    --combine-access-chains --vector-dce --eliminate-dead-inserts --eliminate-dead-branches --if-conversion \
    --copy-propagate-arrays --reduce-load-size --eliminate-dead-code-aggressive --merge-blocks \
    --redundancy-elimination --eliminate-dead-branches --merge-blocks
$(vk)/%.f32.spv: nn/vulkan/%.comp nn/vulkan/vulkan.mk
	$(say) GLSLC $<
	mkdir -p $(@D)
	$(glslc) $< -o $@.plain
	$(spirv_opt) $@.plain -o $@
$(vk)/%.f16.spv: nn/vulkan/%.comp nn/vulkan/vulkan.mk
	$(say) GLSLC '$< (f16)'
	mkdir -p $(@D)
	$(glslc) -DNN_F16 $< -o $@.plain
	$(spirv_opt) $@.plain -o $@
$(vk)/%.khr16.spv: $(vk)/%.f16.spv $(vk)/to_khr
	$(vk)/to_khr $< $@
$(vk)/%.khr32.spv: $(vk)/%.f32.spv $(vk)/to_khr
	$(vk)/to_khr $< $@
$(vk)/to_khr: nn/vulkan/spirv/to_khr.c
	$(say) CC $<
	mkdir -p $(@D)
	$(CC) -std=gnu17 $(warnings) -O1 $< -o $@
-include $(wildcard $(vk_spirv:%=%.d))
nn/vulkan/%.glsl: ;                  # one that is gone is no reason to stop

# One C file of all words, and the table that finds them by name.
$(vk)/shaders.c: $(vk_spirv) nn/vulkan/vulkan.mk
	$(say) EMBED $@
	( echo '/* shaders.c - made by vulkan.mk */'; echo '#include "$(CURDIR)/nn/vulkan/device.h"'; \
	  cd $(vk); for name in $(vk_names); do \
	      echo "static const uint32_t code_$$(echo $$name | tr . _)[] = {"; \
	      od -An -v -tx4 -w32 $$name.spv | sed 's/ \([0-9a-f]\{8\}\)/0x\1,/g'; echo '};'; \
	  done; \
	  echo 'const nn_vk_shader nn_vk_shaders[] = {'; \
	  for name in $(vk_names); do \
	      id=code_$$(echo $$name | tr . _); echo "    {\"$$name\", $$id, sizeof $$id},"; \
	  done; \
	  echo '};'; echo 'const int nn_vk_shader_count = sizeof nn_vk_shaders / sizeof *nn_vk_shaders;' ) > $@

# Every shader is what SPIR-V allows: part of the tests.
.PHONY: check-shaders
check-shaders: $(vk_spirv) | $(BUILD)/test-packages
	for file in $(filter-out %.khr16.spv %.khr32.spv,$^); do spirv-val --target-env vulkan1.2 $$file || exit 1; done
