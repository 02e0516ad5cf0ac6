/* check_vulkan.h - how a test program starts that uses Vulkan devices. */
#ifndef TESTS_CHECK_VULKAN_H
#define TESTS_CHECK_VULKAN_H

#include "../nn/vulkan/vulkan.h"
#include "check.h"

/* Turns the validation layer on where it is installed, and opens a device that stays open: so the driver stays loaded to the
 * end, and what it leaks is known by its name (lsan.supp). */
static inline void check_vulkan_start(void) {
    static nn_device *keeper;
    nn_error e = {0};
    unsetenv("RVC_DEVICE");
    setenv("RVC_VULKAN_VALIDATION", "1", 0);
    if (!nn_vulkan_open(&keeper, "vulkan", 32, &e) || !strstr(e.text, "validation")) return;
    unsetenv("RVC_VULKAN_VALIDATION");
    e = (nn_error){0};
    nn_vulkan_open(&keeper, "vulkan", 32, &e);
}

#endif
