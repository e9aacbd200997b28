/* A program of tests that is declared ONE_THREAD (cmake/Colonnade.cmake) is not run under the thread sanitizer. Its
 * linker puts this in the place of pthread_create: a test that starts a thread all the same fails. */
#include <pthread.h>

#include "tests/support/test.h"

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context) {
  (void)thread, (void)attributes, (void)run, (void)context;
  test_fail_(__FILE__, __LINE__, "pthread_create", "the program is declared ONE_THREAD, and starts one");
}
