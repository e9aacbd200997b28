/* message.c - a table of failures per thread, least recently failed handle out first. */
#include "kvapi/message.h"

#include <stdio.h>

typedef struct Message {
  uint64_t handle;
  uint64_t age; /* the count of failures when it was kept; 0: unused */
  Failure failure;
} Message;

static _Thread_local Message without_handle;
static _Thread_local Message of_handles[MESSAGE_HANDLES];
static _Thread_local uint64_t failures;

static const Failure nothing = { .code = KVSTORE_OK, .row = UINT64_MAX, .text = "no error" };

static Message *find(uint64_t handle) {
  if (handle == MESSAGE_NO_HANDLE) return &without_handle;
  for (size_t i = 0; i < MESSAGE_HANDLES; i++)
    if (of_handles[i].age && of_handles[i].handle == handle) return &of_handles[i];
  return NULL;
}

static Message *oldest(void) {
  Message *found = &of_handles[0];
  for (size_t i = 1; i < MESSAGE_HANDLES; i++)
    if (of_handles[i].age < found->age) found = &of_handles[i];
  return found;
}

void message_keep(uint64_t handle, Status status) {
  Message *message = find(handle);
  if (!message) message = oldest();
  message->handle = handle;
  message->age = ++failures;
  message->failure = *status_last();
  if (message->failure.code == status && message->failure.text[0]) return;
  /* The failure came without a sentence of its own. */
  message->failure = (Failure){ .code = status, .row = UINT64_MAX };
  (void)snprintf(message->failure.text, sizeof message->failure.text, "%s", status_text(status));
}

const Failure *message_of(uint64_t handle) {
  const Message *message = find(handle);
  return message && message->age ? &message->failure : &nothing;
}
