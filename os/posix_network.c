/* posix_network.c - does a file lie where other machines reach it too? There locks and mapped pages are each machine's
 * own, so that two processes would each believe to be alone.
 *
 * The magic number of statfs tells most kinds; FUSE and 9p are told by what the table of mounts says of the device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "os/posix_internal.h"

enum { MAGIC_FUSE = 0x65735546, MAGIC_9P = 0x01021997 };

typedef struct Kind {
  uint32_t magic;
  const char *name;
} Kind;

/* From the systems' headers, and from what file systems outside of the kernel answer. */
static const Kind kinds[] = {
  { 0x00006969, "NFS" },  { 0x0000517b, "SMB" },    { 0xff534d42, "CIFS" },   { 0xfe534d42, "SMB" },
  { 0x0000564c, "NCP" },  { 0x5346414f, "AFS" },    { 0x6b414653, "AFS" },    { 0x73757245, "Coda" },
  { 0x00c36400, "Ceph" }, { 0x0bd00bd0, "Lustre" }, { 0x01161970, "GFS2" },   { 0x7461636f, "OCFS2" },
  { 0x47504653, "GPFS" }, { 0x19830326, "BeeGFS" }, { 0xaad7aaea, "PanFS" },  { 0x20030528, "OrangeFS" },
  { 0x61636673, "ACFS" }, { 0x786f4256, "vboxsf" }, { 0xbacbacbc, "vmhgfs" }, { 0x7c7c6673, "prl_fs" },
};

/* What follows "fuse." in the table of mounts. */
static const char *const network_fuse[] = {
  "sshfs",     "s3fs",        "glusterfs",     "ceph",
  "ceph-fuse", "rclone",      "gcsfuse",       "blobfuse",
  "blobfuse2", "davfs",       "davfs2",        "mfs",
  "moosefs",   "lizardfs",    "saunafs",       "juicefs",
  "JuiceFS",   "seaweedfs",   "goofys",        "s3ql",
  "curlftpfs", "smbnetfs",    "cvmfs2",        "hadoop-fuse",
  "fuse_dfs",  "mount-s3",    "mountpoint-s3", "gvfsd-fuse",
  "afpfs",     "objectivefs", "onedriver",     "google-drive-ocamlfuse",
  "quobyte",   "vmhgfs-fuse",
};

static const char *kind_of_fuse(const char *type) {
  if (strncmp(type, "fuse.", 5) != 0) return NULL; /* local ones, and those that do not say */
  for (size_t i = 0; i < sizeof network_fuse / sizeof *network_fuse; i++)
    if (strcmp(type + 5, network_fuse[i]) == 0) return network_fuse[i];
  return NULL;
}

/* A descriptor handed to the mount is how a sandbox gives its guest a directory of its own; Windows' drives come the
 * same way. */
static const char *kind_of_9p(const char *options) {
  bool by_descriptor = strstr(options, "trans=fd") != NULL;
  return by_descriptor && !strstr(options, "aname=drvfs") ? NULL : "9p";
}

const char *posix_network_kind(uint64_t magic, const char *type, const char *options) {
  if (magic == MAGIC_FUSE) return kind_of_fuse(type);
  if (magic == MAGIC_9P) return kind_of_9p(options);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].magic == magic) return kinds[i].name;
  return NULL;
}

/* A line: id parent major:minor root point options [tags] - type source options. The last one of a device counts. */
static void read_mount(const char *line, dev_t device, char type[64], char options[512]) {
  unsigned high, low;
  if (sscanf(line, "%*d %*d %u:%u", &high, &low) != 2 || high != major(device) || low != minor(device)) return;
  const char *rest = strstr(line, " - ");
  if (rest) sscanf(rest, " - %63s %*s %511s", type, options);
}

static void find_mount(dev_t device, char type[64], char options[512]) {
  char line[4096];
  FILE *mounts = fopen("/proc/self/mountinfo", "re");
  if (!mounts) return;
  while (fgets(line, sizeof line, mounts)) read_mount(line, device, type, options);
  fclose(mounts);
}

/* What cannot be asked is taken for local: whoever opens a file there learns of it by what fails. */
const char *posix_network(OsFile *file) {
  struct statfs found;
  struct stat own;
  char type[64] = "", options[512] = "";
  int descriptor = ((PosixFile *)file)->descriptor;
  if (fstatfs(descriptor, &found) != 0 || fstat(descriptor, &own) != 0) return NULL;
  uint64_t magic = (uint32_t)found.f_type;
  if (magic == MAGIC_FUSE || magic == MAGIC_9P) find_mount(own.st_dev, type, options);
  return posix_network_kind(magic, type, options);
}
