/* cli_care.c - the store's housekeeping: stats, sync, checkpoint, vacuum, backup. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/cli_grid.h"
#include "cli/cli_json.h"
#include "cli/cli_progress.h"

/* ---- stats ---- */

/* Names and numbers, as lines or as members. */
typedef struct Facts {
  Json json;
  Grid grid;
  int use_json;
} Facts;

static void fact(Facts *facts, const char *name, uint64_t number) {
  if (facts->use_json) {
    json_u64(&facts->json, name, number);
    return;
  }
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRIu64, number);
  grid_string(&facts->grid, name);
  grid_string(&facts->grid, digits);
}

/* Keys of a family, those included that have expired and were not purged; `name` NULL: the store's own. */
static int family_fact(Cli *cli, Facts *facts, const char *name) {
  KVColumnFamily *family = NULL;
  int64_t count = 0;
  int result = cli_find_family(cli, name, 0, &family);
  if (!result) {
    int code = kvstore_cf_count(family, &count);
    if (code != KVSTORE_OK) result = cli_fail_store(cli, code, NULL);
  }
  kvstore_cf_close(family);
  if (result) return result;
  Text label = TEXT_EMPTY;
  if (!facts->use_json) text_add_string(&label, "keys of ");
  text_add_readable(&label, name ? name : "default", strlen(name ? name : "default"));
  fact(facts, label.data, (uint64_t)count);
  text_free(&label);
  return CLI_DONE;
}

static int family_facts(Cli *cli, Facts *facts, char *const *names, int count) {
  if (facts->use_json) json_open_object(&facts->json, "keys");
  int result = family_fact(cli, facts, NULL);
  for (int i = 0; i < count && !result; i++) result = family_fact(cli, facts, names[i]);
  if (facts->use_json) json_close(&facts->json);
  return result;
}

static void file_facts(Facts *facts, const KVStoreInfo *info, const KVStoreStats *stats) {
  fact(facts, "db_pages", stats->nDbPages);
  fact(facts, "file_bytes", info->file_bytes);
  fact(facts, "extent_bytes", info->extent_bytes);
  fact(facts, "limbo_bytes", info->limbo_bytes);
  fact(facts, "log_bytes", info->log_bytes);
  fact(facts, "log_bytes_used", info->log_bytes_used);
  fact(facts, "generation", info->generation);
  fact(facts, "sequence", info->sequence);
  fact(facts, "families", info->family_count);
}

static int run_stats(Cli *cli, const Arguments *arguments) {
  static const unsigned char to_the_right[] = { 0, 1 };
  (void)arguments;
  int result = cli_open(cli, CLI_OPEN_READ);
  if (result) return result;
  KVStoreInfo info = KVSTORE_INFO_INIT;
  KVStoreStats stats;
  char **names = NULL;
  int count = 0;
  int code = kvstore_stats(cli->store, &stats);
  if (code == KVSTORE_OK) code = kvstore_info(cli->store, &info);
  if (code == KVSTORE_OK) code = kvstore_cf_list(cli->store, &names, &count);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  Facts facts = { .json = { .file = stdout }, .use_json = cli->json };
  if (facts.use_json) {
    json_open_object(&facts.json, NULL);
  } else {
    grid_begin(&facts.grid, stdout, NULL, to_the_right, 2, cli->aligned);
  }
  file_facts(&facts, &info, &stats);
  result = family_facts(cli, &facts, names, count);
  if (facts.use_json) {
    json_close(&facts.json);
  } else {
    grid_end(&facts.grid);
  }
  for (int i = 0; i < count; i++) kvstore_free(names[i]);
  kvstore_free(names);
  return result;
}

/* ---- sync, checkpoint ---- */

static int run_sync(Cli *cli, const Arguments *arguments) {
  (void)arguments;
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (result) return result;
  int code = kvstore_sync(cli->store);
  return code == KVSTORE_OK ? cli_say_done(cli, "synced") : cli_fail_store(cli, code, NULL);
}

static int read_mode(const Arguments *arguments, int *mode) {
  static const char *const names[] = { "passive", "full", "restart", "truncate" };
  const char *text = arguments_text(arguments, "mode");
  *mode = KVSTORE_CHECKPOINT_PASSIVE;
  if (!text) return 0;
  for (int i = 0; i < 4; i++) {
    if (strcmp(text, names[i]) != 0) continue;
    *mode = i; /* in the order of KVSTORE_CHECKPOINT_* */
    return 0;
  }
  return cli_fail("--mode is passive, full, restart or truncate, not %s", text);
}

static int run_checkpoint(Cli *cli, const Arguments *arguments) {
  int mode, log_pages = 0, settled_pages = 0;
  if (read_mode(arguments, &mode)) return CLI_FAILED;
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (result) return result;
  int code = kvstore_checkpoint(cli->store, mode, &log_pages, &settled_pages);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, "the log was not settled");
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_i64(&json, "log_pages", log_pages);
    json_i64(&json, "settled_pages", settled_pages);
    json_close(&json);
  } else {
    printf("%d pages in the log, %d settled\n", log_pages, settled_pages);
  }
  return CLI_DONE;
}

/* ---- vacuum ---- */

static int run_vacuum(Cli *cli, const Arguments *arguments) {
  uint64_t pages = 0;
  if (arguments_number(arguments, "pages", 1, INT32_MAX, &pages)) return CLI_FAILED;
  int result = cli_open(cli, CLI_OPEN_READ); /* no pages but those that are asked for */
  if (result) return result;
  KVStoreStats before = { 0 }, after = { 0 };
  int code = kvstore_stats(cli->store, &before);
  if (code == KVSTORE_OK) code = kvstore_incremental_vacuum(cli->store, (int)pages);
  if (code == KVSTORE_OK) code = kvstore_stats(cli->store, &after);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, "the file was not made smaller");
  uint64_t freed = before.nDbPages > after.nDbPages ? before.nDbPages - after.nDbPages : 0;
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_u64(&json, "freed_pages", freed);
    json_u64(&json, "db_pages", after.nDbPages);
    json_close(&json);
  } else {
    printf("%" PRIu64 " pages given back, %" PRIu64 " left\n", freed, after.nDbPages);
  }
  return CLI_DONE;
}

/* ---- backup ---- */

static int show_progress(void *context, uint64_t done, uint64_t total) {
  progress_show(context, total ? (double)done / (double)total : 1);
  return progress_is_interrupted();
}

static int report_backup(Cli *cli, const char *path) {
  struct stat status;
  if (stat(path, &status) != 0) return cli_fail("%s was written and is gone: %s", path, strerror(errno));
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_string(&json, "backup", path);
    json_u64(&json, "file_bytes", (uint64_t)status.st_size);
    json_close(&json);
  } else {
    printf("%" PRIu64 " bytes in the backup\n", (uint64_t)status.st_size);
  }
  return CLI_DONE;
}

static int run_backup(Cli *cli, const Arguments *arguments) {
  const char *path = arguments->words[0];
  Progress progress;
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (result) return result;
  progress_stop_at_signals();
  progress_begin(&progress, "backup");
  int code = kvstore_backup_with(cli->store, path, show_progress, &progress);
  progress_end(&progress);
  if (code == KVSTORE_OK) return report_backup(cli, path);
  if (code == KVSTORE_CANCELLED) return cli_fail("no backup was made: it was interrupted");
  return cli_fail("no backup was made: %s", kvstore_errmsg(cli->store)); /* also where PATH's directory is not found */
}

/* ---- the commands ---- */

static const OptionSpec vacuum_options[] = {
  { "pages", "N", "give back at most so many pages of 4096 bytes (default: all)" },
  { NULL, NULL, NULL },
};
const Command command_vacuum = {
  .name = "vacuum",
  .words = "",
  .summary = "give the file's unused pages back to the system",
  .description =
    "Deleting leaves room in the file, which later rows use. vacuum rewrites what holds deleted rows, moves what lies "
    "behind, and makes the file smaller. Others read and write meanwhile. Prints how many pages of 4096 bytes were "
    "given "
    "back, and how many are left.",
  .example = "colonnade --db my.db vacuum",
  .options = vacuum_options,
  .words_min = 0,
  .words_max = 0,
  .run = run_vacuum,
};

const Command command_backup = {
  .name = "backup",
  .words = "PATH",
  .summary = "copy the store to a file, while others use it",
  .description =
    "PATH is then a store of its own, whole and closed, with everything that was committed before. It is written "
    "beside "
    "(PATH-backup) and takes its name at the end: a crash leaves what was there, or the backup. An older backup there "
    "is replaced; a store that is open, the store itself, and a file that is no store are refused. The backup of an "
    "encrypted store is encrypted, with the same password.",
  .example = "colonnade --db my.db backup my-backup.db",
  .options = NULL,
  .words_min = 1,
  .words_max = 1,
  .run = run_backup,
};

const Command command_stats = {
  .name = "stats",
  .words = "",
  .summary = "sizes and counts, a line each",
  .description =
    "Pages and bytes of the file and the log, the sequence of the newest row, and the keys of each family, those "
    "included that have expired and were not purged. For programs: the names stay.",
  .example = "colonnade --db my.db stats --format json",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .run = run_stats,
};
const Command command_sync = {
  .name = "sync",
  .words = "",
  .summary = "return when everything committed is on the disk",
  .description = "What other programs have committed is on the disk too when sync returns.",
  .example = "colonnade --db my.db sync",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .run = run_sync,
};

static const OptionSpec checkpoint_options[] = {
  { "mode", "passive|full|restart|truncate", "passive: wait for nobody (default); the others wait for a writer" },
  { NULL, NULL, NULL },
};
const Command command_checkpoint = {
  .name = "checkpoint",
  .words = "",
  .summary = "move what the log holds into the file",
  .description =
    "A store does this by itself, and at its last close. Prints how many pages of 4096 bytes the log held, "
    "and how many of them are settled now.",
  .example = "colonnade --db my.db checkpoint --mode full",
  .options = checkpoint_options,
  .words_min = 0,
  .words_max = 0,
  .run = run_checkpoint,
};
