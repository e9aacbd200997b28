/* message.h - the last failure of each thread on each handle: what kvstore_errmsg and kvstore_error answer.
 *
 * A thread remembers the handles that failed last, in a small table of its own, so that no call of another thread can
 * change a text while it is read. Handles are named by a number that is never given twice. */
#ifndef COLONNADE_KVAPI_MESSAGE_H
#define COLONNADE_KVAPI_MESSAGE_H

#include <stdint.h>

#include "base/status.h"

enum { MESSAGE_HANDLES = 8 }; /* besides the failures without a handle */
#define MESSAGE_NO_HANDLE UINT64_C(0)

/* Remembers the thread's last failure (base/status.h) as that of a call on `handle`, under `status`. */
void message_keep(uint64_t handle, Status status);
/* What is remembered; a failure with code KVSTORE_OK and the text "no error" when nothing is. Never NULL. */
const Failure *message_of(uint64_t handle);

#endif
