/* cli_expiry.c - what depends on whether a key is there still: set-if-absent, ttl, purge. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_json.h"

/* ---- set-if-absent ---- */

static int run_set_if_absent(Cli *cli, const Arguments *arguments) {
  const char *key = arguments->words[0], *value = arguments->words[1];
  uint64_t ttl_seconds = 0;
  if (arguments_number(arguments, "ttl", 1, CLI_TTL_SECONDS_MAX, &ttl_seconds)) return CLI_FAILED;
  if (cli_not_a_key(key, strlen(key))) return CLI_FAILED;
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, CLI_OPEN_CREATE, &family);
  int inserted = 0;
  if (!result) {
    int code = kvstore_cf_put_if_absent(family, key, (int)strlen(key), value, (int)strlen(value),
                                        cli_expiry_in(ttl_seconds), &inserted);
    if (code != KVSTORE_OK) result = cli_fail_store(cli, code, "the value was not stored");
  }
  kvstore_cf_close(family);
  if (result) return result;
  if (!inserted && arguments_has(arguments, "must")) return cli_fail("there is a key %s already", key);
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_bool(&json, "inserted", inserted);
    json_close(&json);
  } else {
    puts(inserted ? "true" : "false");
  }
  return CLI_DONE;
}

/* ---- ttl ---- */

static void print_remaining(const Cli *cli, const char *key, int64_t remaining_ms) {
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_string(&json, "key", key);
    if (remaining_ms == KVSTORE_NO_TTL) {
      json_null(&json, "expires_in_ms");
    } else {
      json_i64(&json, "expires_in_ms", remaining_ms);
    }
    json_close(&json);
  } else if (remaining_ms == KVSTORE_NO_TTL) {
    puts("never");
  } else {
    printf("%" PRId64 ".%03d\n", remaining_ms / 1000, (int)(remaining_ms % 1000));
  }
}

static int read_ttl(Cli *cli, KVColumnFamily *family, const char *key) {
  int64_t remaining_ms = 0;
  int code = kvstore_cf_ttl_remaining(family, key, (int)strlen(key), &remaining_ms);
  /* 0 is an expired key that nobody has removed: to whoever asks it is gone. */
  if (code == KVSTORE_NOTFOUND || (code == KVSTORE_OK && remaining_ms == 0))
    return cli_not_found("there is no key %s", key);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  print_remaining(cli, key, remaining_ms);
  return CLI_DONE;
}

/* The value is read and written again in one transaction: nobody's change is lost between. */
static int change_ttl(Cli *cli, KVColumnFamily *family, const char *key, uint64_t ttl_seconds) {
  void *value = NULL;
  int length = 0;
  int code = kvstore_begin(cli->store, 1);
  if (code == KVSTORE_OK) code = kvstore_cf_get(family, key, (int)strlen(key), &value, &length);
  if (code == KVSTORE_OK)
    code = kvstore_cf_put_ttl(family, key, (int)strlen(key), value, length, cli_expiry_in(ttl_seconds));
  if (code == KVSTORE_OK) code = kvstore_commit(cli->store);
  kvstore_free(value);
  if (code == KVSTORE_OK) return cli_say_done(cli, "changed");
  if (code == KVSTORE_NOTFOUND) return cli_not_found("there is no key %s", key);
  return cli_fail_store(cli, code, "the time to live was not changed");
}

static int run_ttl(Cli *cli, const Arguments *arguments) {
  uint64_t ttl_seconds = 0;
  int never = arguments_has(arguments, "never");
  int changes = never || arguments_has(arguments, "set");
  if (arguments_number(arguments, "set", 1, CLI_TTL_SECONDS_MAX, &ttl_seconds)) return CLI_FAILED;
  if (never && ttl_seconds) return cli_fail("--never and --set exclude each other");
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, changes ? CLI_OPEN_WRITE : CLI_OPEN_READ, &family);
  if (!result && changes) {
    result = change_ttl(cli, family, arguments->words[0], ttl_seconds);
  } else if (!result) {
    result = read_ttl(cli, family, arguments->words[0]);
  }
  kvstore_cf_close(family);
  return result;
}

/* ---- purge ---- */

static int purge_family(Cli *cli, const char *name, uint64_t *purged) {
  KVColumnFamily *family = NULL;
  int deleted = 0;
  int result = cli_find_family(cli, name, 0, &family);
  if (!result) {
    int code = kvstore_cf_purge_expired(family, &deleted);
    if (code != KVSTORE_OK) result = cli_fail_store(cli, code, "expired keys were not removed");
  }
  kvstore_cf_close(family);
  *purged += (uint64_t)deleted;
  return result;
}

static int purge_all(Cli *cli, uint64_t *purged) {
  char **names = NULL;
  int count = 0;
  int code = kvstore_cf_list(cli->store, &names, &count);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  int result = purge_family(cli, NULL, purged);
  for (int i = 0; i < count; i++) {
    if (!result) result = purge_family(cli, names[i], purged);
    kvstore_free(names[i]);
  }
  kvstore_free(names);
  return result;
}

static int run_purge(Cli *cli, const Arguments *arguments) {
  const char *name = arguments_text(arguments, "cf");
  int all = arguments_has(arguments, "all");
  if (all && name) return cli_fail("--all and --cf exclude each other");
  int result = cli_open(cli, CLI_OPEN_WRITE);
  uint64_t purged = 0;
  if (!result) result = all ? purge_all(cli, &purged) : purge_family(cli, name, &purged);
  return result ? result : cli_say_number(cli, "purged", purged);
}

/* ---- the commands ---- */

static const OptionSpec set_if_absent_options[] = {
  { "ttl", "SECONDS", "the key is gone after so many seconds" },
  { "must", NULL, "exit with 1 when the key was there already" },
  { NULL, NULL, NULL },
};
const Command command_set_if_absent = {
  .name = "set-if-absent",
  .words = "KEY VALUE",
  .summary = "store a value unless the key is there",
  .description =
    "Prints true when the value was stored, and false when the key was there: then nothing has changed. Who asks first "
    "gets it, however many ask at once: a lock with an end is set-if-absent --ttl. An expired key is absent.",
  .example = "colonnade --db my.db set-if-absent lock:report me --ttl 60 --must",
  .options = set_if_absent_options,
  .words_min = 2,
  .words_max = 2,
  .uses_family = 1,
  .run = run_set_if_absent,
};

static const OptionSpec ttl_options[] = {
  { "set", "SECONDS", "from now on it has so many seconds" },
  { "never", NULL, "from now on it never expires" },
  { NULL, NULL, NULL },
};
const Command command_ttl = {
  .name = "ttl",
  .words = "KEY",
  .summary = "how long a key has still, or shall have",
  .description = "Prints seconds with three decimals, or never. With --set or --never the value stays and its time "
                 "changes. Exits with 2 when there is no such key, or it has expired.",
  .example = "colonnade --db my.db ttl session:42 --cf sessions --set 7200",
  .options = ttl_options,
  .words_min = 1,
  .words_max = 1,
  .uses_family = 1,
  .run = run_ttl,
};

static const OptionSpec purge_options[] = {
  { "all", NULL, "in every family of keys" },
  { NULL, NULL, NULL },
};
const Command command_purge = {
  .name = "purge",
  .words = "",
  .summary = "remove expired keys",
  .description = "Expired keys are invisible at once, and their space comes back by and by; purge removes them now, "
                 "in one transaction a family, and prints how many there were.",
  .example = "colonnade --db my.db purge --cf sessions",
  .options = purge_options,
  .words_min = 0,
  .words_max = 0,
  .uses_family = 1,
  .run = run_purge,
};
