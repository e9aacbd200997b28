/* cli_encryption.c - encrypt, decrypt, rekey. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int report(Cli *cli, int code, const char *member) {
  return code == KVSTORE_OK ? cli_say_done(cli, member) : cli_fail_store(cli, code, "nothing was changed");
}

/* A plain store is encrypted by opening it with a password. */
static int run_encrypt(Cli *cli, const Arguments *arguments) {
  (void)arguments;
  int result = cli_is_there(cli);
  if (result) return result;
  int code = cli_try_open(cli, CLI_OPEN_READ, NULL);
  if (code == KVSTORE_AUTH_FAILED)
    return cli_fail("%s is encrypted already; rekey changes its password", cli->database);
  if (code == KVSTORE_OK) code = cli_close(cli);
  if (code != KVSTORE_OK) return cli_fail_open(cli, code);
  if (!cli->secret.bytes && secret_ask(&secret_current, 1, &cli->secret)) return CLI_FAILED;
  code = cli_try_open(cli, CLI_OPEN_WRITE, &cli->secret);
  return code == KVSTORE_OK ? cli_say_done(cli, "encrypted") : cli_fail_open(cli, code);
}

static int run_decrypt(Cli *cli, const Arguments *arguments) {
  (void)arguments;
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (result) return result;
  if (!kvstore_is_encrypted(cli->store)) return cli_fail("%s is not encrypted", cli->database);
  return report(cli, kvstore_remove_encryption(cli->store), "decrypted");
}

static int run_rekey(Cli *cli, const Arguments *arguments) {
  Secret secret = { 0 };
  if (secret_find(&secret_new, arguments, &secret)) return CLI_FAILED;
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (!result && !kvstore_is_encrypted(cli->store))
    result = cli_fail("%s is not encrypted; encrypt makes it so", cli->database);
  if (!result && !secret.bytes && secret_ask(&secret_new, 1, &secret)) result = CLI_FAILED;
  if (!result) result = report(cli, kvstore_reencrypt(cli->store, secret.bytes, (int)secret.length), "rekeyed");
  secret_free(&secret);
  return result;
}

const Command command_encrypt = {
  .name = "encrypt",
  .words = "",
  .summary = "encrypt a store in place",
  .description =
    "The password comes as for every command (--password-file, COLONNADE_PASSWORD, --password), or is asked for on the "
    "terminal, twice. An encrypted copy replaces the file at once: a crash leaves the one or the other. Nobody else "
    "may "
    "have the store open. A new store is encrypted from its birth when put or import have a password.",
  .example = "colonnade --db my.db encrypt --password-file secret",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .run = run_encrypt,
};
const Command command_decrypt = {
  .name = "decrypt",
  .words = "",
  .summary = "make an encrypted store a plain one",
  .description = "A plain copy replaces the file at once. Nobody else may have the store open.",
  .example = "colonnade --db my.db decrypt --password-file secret",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .run = run_decrypt,
};

static const OptionSpec rekey_options[] = {
  { "new-password", "TEXT", "the new password; others may see it in the list of processes" },
  { "new-password-file", "FILE", "the new password is the first line of it; - is standard input" },
  { NULL, NULL, NULL },
};
const Command command_rekey = {
  .name = "rekey",
  .words = "",
  .summary = "change the password of an encrypted store",
  .description =
    "In a moment, however large the store is: the data keep their key, and the key gets another password. The new one "
    "comes from --new-password-file, the variable COLONNADE_NEW_PASSWORD or --new-password, or is asked for on the "
    "terminal, twice. The old password opens nothing any more.",
  .example = "colonnade --db my.db rekey --password-file secret --new-password-file newer",
  .options = rekey_options,
  .words_min = 0,
  .words_max = 0,
  .run = run_rekey,
};
