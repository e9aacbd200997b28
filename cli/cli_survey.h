/* cli_survey.h - the first pass over a file, CSV or JSON lines: its columns, their types, its rows. */
#ifndef COLONNADE_CLI_SURVEY_H
#define COLONNADE_CLI_SURVEY_H

#include "cli/cli_csv.h"
#include "cli/cli_infer.h"
#include "cli/cli_jsonl.h"

typedef struct Survey {
  const char *path; /* these seven are given */
  int is_jsonl;     /* the next three mean nothing then */
  CsvForm form;
  int has_header;
  char **nulls; /* the texts that stand for a missing value */
  size_t null_count;
  void (*progress)(void *context, uint64_t bytes, uint64_t of);

  size_t column_count; /* these are found out */
  size_t column_capacity;
  char **names; /* of the header, column_1 and so on where there is none; of JSON lines, as they come */
  Inference *columns;
  uint64_t row_count; /* without the header */
} Survey;

/* 0, or CLI_FAILED after a message: besides what csv_read_file refuses, an empty file, a header with one name twice or
 * a name that cannot be, a row that does not have as many fields as the first. */
int survey_file(Survey *survey, void *progress_context);
void survey_free(Survey *survey);

/* The column of a name, from `guess` on, where it most often is; SIZE_MAX: there is none. */
size_t survey_column(const Survey *survey, const char *name, size_t guess);
/* Whether a field stands for a missing value. */
int survey_is_null(const Survey *survey, const CsvField *field);
/* 0, or CLI_FAILED after a message, when the row is ragged. */
int survey_check_width(const Survey *survey, const CsvRow *row);

#endif
