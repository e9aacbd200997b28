#include "cli/cli_survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_text.h"

int survey_is_null(const Survey *survey, const CsvField *field) {
  if (field->kind != FIELD_CSV) return field->kind == FIELD_NULL;
  if (!field->length && !field->bare) return 0; /* written as "": an empty text */
  for (size_t i = 0; i < survey->null_count; i++)
    if (strlen(survey->nulls[i]) == field->length && memcmp(survey->nulls[i], field->data, field->length) == 0)
      return 1;
  return 0;
}

int survey_check_width(const Survey *survey, const CsvRow *row) {
  if (row->field_count == survey->column_count) return 0;
  char message[128];
  snprintf(message, sizeof message, "the row has %zu fields, but the first row has %zu", row->field_count,
           survey->column_count);
  return csv_fail(survey->path, row->number, row->line, NULL, message);
}

static char *copy_name(const CsvField *field, size_t position, int from_header) {
  char made[32];
  int made_length = snprintf(made, sizeof made, "column_%zu", position + 1);
  int use_made = !from_header || !field->length;
  size_t length = use_made ? (size_t)made_length : field->length;
  char *name = cli_allocate(length + 1, 1);
  memcpy(name, use_made ? made : field->data, length);
  return name;
}

static int check_name(const Survey *survey, const CsvRow *row, size_t position) {
  const char *name = survey->names[position];
  char message[128];
  if (strlen(name) > 255 || !text_is_utf8(name, strlen(name))) {
    snprintf(message, sizeof message, "the name of column %zu is not UTF-8 text of at most 255 bytes", position + 1);
    return csv_fail(survey->path, row->number, row->line, NULL, message);
  }
  for (size_t i = 0; i < position; i++) {
    if (strcmp(survey->names[i], name) != 0) continue;
    snprintf(message, sizeof message, "columns %zu and %zu have the same name; if row 1 is data, use --no-header",
             i + 1, position + 1);
    return csv_fail(survey->path, row->number, row->line, name, message);
  }
  return 0;
}

static int take_first_row(Survey *survey, const CsvRow *row) {
  if (row->field_count > KVTABLE_COLUMNS_MAX) {
    char message[96];
    snprintf(message, sizeof message, "the row has %zu fields, but a table has at most %d columns", row->field_count,
             KVTABLE_COLUMNS_MAX);
    return csv_fail(survey->path, row->number, row->line, NULL, message);
  }
  survey->names = cli_allocate(row->field_count, sizeof *survey->names);
  survey->columns = cli_allocate(row->field_count, sizeof *survey->columns);
  survey->column_count = row->field_count;
  for (size_t i = 0; i < row->field_count; i++) survey->names[i] = copy_name(&row->fields[i], i, survey->has_header);
  for (size_t i = 0; i < row->field_count; i++) {
    int result = check_name(survey, row, i);
    if (result) return result;
  }
  return 0;
}

typedef struct SurveyPass {
  Survey *survey;
  void *progress_context;
} SurveyPass;

static int on_row(void *context, const CsvRow *row) {
  Survey *survey = ((SurveyPass *)context)->survey;
  if (row->number == 1) {
    int result = take_first_row(survey, row);
    if (result || survey->has_header) return result;
  }
  int result = survey_check_width(survey, row);
  if (result) return result;
  for (size_t i = 0; i < row->field_count; i++) {
    const CsvField *field = &row->fields[i];
    if (field->length && !survey_is_null(survey, field)) infer_value(&survey->columns[i], field->data, field->length);
  }
  survey->row_count++;
  return 0;
}

static void on_progress(void *context, uint64_t bytes, uint64_t of) {
  const SurveyPass *pass = context;
  if (pass->survey->progress) pass->survey->progress(pass->progress_context, bytes, of);
}

/* ---- JSON lines ---- */

size_t survey_column(const Survey *survey, const char *name, size_t guess) {
  for (size_t i = 0; i < survey->column_count; i++) {
    size_t at = guess + i < survey->column_count ? guess + i : guess + i - survey->column_count;
    if (strcmp(survey->names[at], name) == 0) return at;
  }
  return SIZE_MAX;
}

static int add_column(Survey *survey, const JsonlRow *row, const char *name) {
  if (survey->column_count == KVTABLE_COLUMNS_MAX) {
    char message[64];
    snprintf(message, sizeof message, "a table has at most %d columns", KVTABLE_COLUMNS_MAX);
    return csv_fail(survey->path, row->number, row->line, NULL, message);
  }
  if (!*name || strlen(name) > 255)
    return csv_fail(survey->path, row->number, row->line, NULL, "the name of a member has not 1 to 255 bytes");
  if (survey->column_count == survey->column_capacity) {
    size_t capacity = survey->column_capacity ? survey->column_capacity * 2 : 32;
    survey->names = cli_reallocate(survey->names, capacity, sizeof *survey->names);
    survey->columns = cli_reallocate(survey->columns, capacity, sizeof *survey->columns);
    survey->column_capacity = capacity;
  }
  char *copy = cli_allocate(strlen(name) + 1, 1);
  memcpy(copy, name, strlen(name));
  survey->names[survey->column_count] = copy;
  survey->columns[survey->column_count++] = (Inference){ 0 };
  return 0;
}

static int on_object(void *context, const JsonlRow *row) {
  Survey *survey = ((SurveyPass *)context)->survey;
  for (size_t i = 0, guess = 0; i < row->member_count; i++, guess++) {
    const CsvField *field = &row->members[i].value;
    size_t column = survey_column(survey, row->members[i].name, guess < survey->column_count ? guess : 0);
    if (column == SIZE_MAX) {
      int result = add_column(survey, row, row->members[i].name);
      if (result) return result;
      column = survey->column_count - 1;
    }
    guess = column;
    if (field->kind == FIELD_NUMBER) infer_value(&survey->columns[column], field->data, field->length);
    if (field->kind == FIELD_STRING) infer_text(&survey->columns[column], field->data, field->length);
  }
  survey->row_count++;
  return 0;
}

int survey_file(Survey *survey, void *progress_context) {
  SurveyPass pass = { survey, progress_context };
  CsvSink sink = { &pass, on_row, on_progress };
  JsonlSink json_sink = { &pass, on_object, on_progress };
  int result =
    survey->is_jsonl ? jsonl_read_file(survey->path, &json_sink) : csv_read_file(survey->path, &survey->form, &sink);
  if (!result && !survey->column_count && survey->row_count)
    return cli_fail("no object of %s has a member; nothing was imported", survey->path);
  if (!result && !survey->column_count) result = cli_fail("%s is empty; nothing was imported", survey->path);
  return result;
}

void survey_free(Survey *survey) {
  for (size_t i = 0; survey->names && i < survey->column_count; i++) free(survey->names[i]);
  free(survey->names);
  free(survey->columns);
}
