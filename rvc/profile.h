/* profile.h - where the time of chunks goes on a device that runs them as one graph: by component, and in it by kind of
 * operation, with the share of what the device can do at most. */
#ifndef RVC_PROFILE_H
#define RVC_PROFILE_H

#include <stdio.h>

#include "../nn/cost.h"

typedef enum rvc_component {
    RVC_PART_MEL,
    RVC_PART_PITCH,
    RVC_PART_CONTENT,
    RVC_PART_RETRIEVAL,
    RVC_PART_TEXT,
    RVC_PART_FLOW,
    RVC_PART_SOURCE,
    RVC_PART_GENERATOR,
    RVC_PARTS
} rvc_component;

/* Sums over nodes of one component and kind. */
typedef struct rvc_profile_row {
    rvc_component part;
    const char *kind;                  /* nn_cost's */
    int nodes;
    double seconds, bytes, flops[2];   /* of float32 and of float16 numbers */
} rvc_profile_row;

/* Zeroed, it holds nothing. */
typedef struct rvc_profile {
    int rows;
    rvc_profile_row row[128];
} rvc_profile;

void rvc_profile_add(rvc_profile *t, const nn_plan *p);      /* a plan that has run under profile */

/* The larger of two shares of the row's time: what its operations would take, and what its bytes would, at the peak. */
double rvc_profile_share(const rvc_profile_row *row, const nn_peak *peak);

/* A table, largest first, of what one of `runs` conversions took, all of which were added. */
void rvc_profile_print(const rvc_profile *t, int runs, const nn_peak *peak, FILE *file);

#endif
