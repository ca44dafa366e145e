// The counters of a whole job: sum, least and greatest value of each counter, added up from rank to rank, and their text.
// Pure functions; no transport.
#pragma once

#include <stdint.h>

#include "counters.h"

typedef struct {
  uint64_t sum, least, most;
  int32_t least_rank, most_rank;  // the lowest rank that has the value
} efa_summary;

typedef struct {
  uint32_t ranks;  // that are included
  efa_summary of[EFA_COUNTERS];
} efa_statistics;

#define EFA_SUMMARIES_PER_PART 7u
#define EFA_STATISTICS_PARTS ((EFA_COUNTERS + EFA_SUMMARIES_PER_PART - 1) / EFA_SUMMARIES_PER_PART)

// Statistics travel in parts that are short enough for an eager message under all parameters.
typedef struct {
  uint32_t magic;
  int32_t from;  // the rank that sent it
  uint32_t index;
  uint32_t ranks;
  efa_summary of[EFA_SUMMARIES_PER_PART];
} efa_statistics_part;

typedef enum { EFA_STATISTICS_NONE, EFA_STATISTICS_TABLE, EFA_STATISTICS_JSON } efa_statistics_form;

#ifdef __cplusplus
extern "C" {
#endif

// The value of the parameter mtl_efa_statistics; NULL and "" mean none. -1: it is no such value.
int efa_statistics_form_of(const char* text);
// Those of one rank.
void efa_statistics_begin(efa_statistics* statistics, int32_t rank, const efa_counters* counters);
void efa_statistics_add(efa_statistics* statistics, const efa_statistics* more);
void efa_statistics_part_get(const efa_statistics* statistics, int32_t from, uint32_t index,
                             efa_statistics_part* part);
// Whether `part` may come from a rank below `job_ranks`.
int efa_statistics_part_check(const efa_statistics_part* part, uint32_t job_ranks);
// Puts a part where it belongs.
void efa_statistics_part_set(efa_statistics* statistics, const efa_statistics_part* part);
// The text, in memory from malloc, with a newline at the end; NULL if memory is short. `job_ranks`: ranks of the job,
// of which statistics->ranks are included.
char* efa_statistics_text(const efa_statistics* statistics, uint32_t job_ranks, efa_statistics_form form);

#ifdef __cplusplus
}
#endif
