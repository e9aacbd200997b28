/* cli_infer.h - the type of a column of texts: the narrowest kind that every one of them fits. */
#ifndef COLONNADE_CLI_INFER_H
#define COLONNADE_CLI_INFER_H

#include <stddef.h>

typedef struct Inference { /* begin with zeros */
  unsigned excluded;       /* kinds that some value did not fit */
  int seen;                /* a value was there */
  int finite;              /* a float in digits was there */
  int utc;                 /* a timestamp with a Z */
  int naive;               /* a timestamp without, or a date */
} Inference;

/* Takes one more value into account; nulls are not given. */
void infer_value(Inference *inference, const char *text, size_t length);
/* The same of what is a text by its form: a date or a timestamp, nan or inf beside numbers, or just a text. */
void infer_text(Inference *inference, const char *text, size_t length);
/* Bool, i64, u64, f64, date or timestamp, and string for everything else and for a column without a value. *flags gets
 * KVTABLE_UTC when every timestamp had a Z. Numbers with leading zeros (postcodes) and whole numbers that the type
 * would round stay text. */
int infer_type(const Inference *inference, int *flags);

#endif
