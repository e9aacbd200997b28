/* encryption.c - passwords of a store that is open. */
#include "kvapi/handle.h"

Status password_argument(const void *password, int length, Bytes *out) {
  TRY(bytes_argument(password, length, "password", out));
  return out->length ? KVSTORE_OK : bad_argument("the password is empty");
}

int kvstore_is_encrypted(KVStore *pKV) {
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) {
    handle_refuse(pKV, status);
    return 0;
  }
  int sealed = session_is_sealed(pKV->session);
  handle_leave(pKV, KVSTORE_OK);
  return sealed;
}

int kvstore_reencrypt(KVStore *pKV, const void *pNewPassword, int nNewPassword) {
  Bytes password;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  status = password_argument(pNewPassword, nNewPassword, &password);
  if (status == KVSTORE_OK) status = session_reencrypt(pKV->session, password);
  return handle_leave(pKV, status);
}

/* The session changes its store: nobody may be inside it meanwhile. */
int kvstore_remove_encryption(KVStore *pKV) {
  Status status = handle_enter_alone(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave_alone(pKV, session_remove_encryption(pKV->session));
}
