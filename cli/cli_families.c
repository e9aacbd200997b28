/* cli_families.c - families of keys as a whole: cf list, cf create, cf drop, clear. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_json.h"

/* ---- cf ---- */

static void print_names(const Cli *cli, char *const *names, int count) {
  Json json = { .file = stdout };
  if (cli->json) json_open_array(&json, NULL);
  for (int i = 0; i < count; i++) {
    if (cli->json) {
      json_string(&json, NULL, names[i]);
    } else {
      Text line = TEXT_EMPTY;
      text_add_readable(&line, names[i], strlen(names[i]));
      puts(line.data);
      text_free(&line);
    }
  }
  if (cli->json) json_close(&json);
}

static int list_families(Cli *cli) {
  int result = cli_open(cli, CLI_OPEN_READ);
  if (result) return result;
  char **names = NULL;
  int count = 0;
  int code = kvstore_cf_list(cli->store, &names, &count);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  print_names(cli, names, count);
  for (int i = 0; i < count; i++) kvstore_free(names[i]);
  kvstore_free(names);
  return CLI_DONE;
}

static int create_family(Cli *cli, const char *name) {
  int result = cli_open(cli, CLI_OPEN_CREATE);
  if (result) return result;
  KVColumnFamily *family = NULL;
  int code = kvstore_cf_create(cli->store, name, &family);
  kvstore_cf_close(family);
  return code == KVSTORE_OK ? cli_say_done(cli, "created") : cli_fail_store(cli, code, "the family was not made");
}

static int drop_family(Cli *cli, const char *name) {
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (result) return result;
  int code = kvstore_cf_drop(cli->store, name);
  if (code == KVSTORE_NOTFOUND) return cli_not_found("there is no family %s; cf list lists those there are", name);
  if (code == KVSTORE_SCHEMA) return cli_fail("%s is a table; drop %s removes it", name, name);
  return code == KVSTORE_OK ? cli_say_done(cli, "dropped") : cli_fail_store(cli, code, "the family was not dropped");
}

static int run_cf(Cli *cli, const Arguments *arguments) {
  const char *verb = arguments->words[0];
  const char *name = arguments->word_count > 1 ? arguments->words[1] : NULL;
  if (strcmp(verb, "list") == 0 && !name) return list_families(cli);
  if (strcmp(verb, "create") == 0 && name) return create_family(cli, name);
  if (strcmp(verb, "drop") == 0 && name) return drop_family(cli, name);
  return cli_fail("cf list, cf create NAME or cf drop NAME is needed");
}

/* ---- clear ---- */

static int run_clear(Cli *cli, const Arguments *arguments) {
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, CLI_OPEN_WRITE, &family);
  if (!result) {
    int code = kvstore_cf_clear(family);
    result = code == KVSTORE_OK ? cli_say_done(cli, "cleared") : cli_fail_store(cli, code, "nothing was removed");
  }
  kvstore_cf_close(family);
  return result;
}

/* ---- the commands ---- */

const Command command_cf = {
  .name = "cf",
  .words = "list|create|drop [NAME]",
  .summary = "list, create or drop families of keys",
  .description =
    "A family is a space of keys of its own. cf list prints the names, one a line, without the store's own "
    "family and without tables; cf create NAME makes one (put --cf makes a missing one too); cf drop NAME "
    "removes one with all its keys, and exits with 2 when there is none.",
  .example = "colonnade --db my.db cf create sessions",
  .options = NULL,
  .words_min = 1,
  .words_max = 2,
  .run = run_cf,
};
const Command command_clear = {
  .name = "clear",
  .words = "",
  .summary = "remove every key of a family",
  .description =
    "All at once and without asking. The family itself stays, and so do the other families and all tables.",
  .example = "colonnade --db my.db clear --cf sessions",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .uses_family = 1,
  .run = run_clear,
};
