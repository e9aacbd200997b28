#include <stdio.h>

#include "os/posix_internal.h"
#include "tests/support/test.h"

enum { FUSE = 0x65735546, NINE_P = 0x01021997 }; /* from linux/magic.h */

static void check_kind(uint64_t magic, const char *type, const char *options, const char *expected) {
  const char *kind = posix_network_kind(magic, type, options);
  CHECK((kind != NULL) == (expected != NULL));
  if (expected) CHECK_STR(kind, expected);
}

TEST(posix_network, kinds_are_told_by_their_magic_number) {
  check_kind(0x6969, "", "", "NFS");
  check_kind(0xff534d42, "", "", "CIFS");
  check_kind(0xfe534d42, "", "", "SMB");
  check_kind(0x00c36400, "", "", "Ceph");
  check_kind(0x0bd00bd0, "", "", "Lustre");
}

TEST(posix_network, local_kinds_are_none) {
  check_kind(0xef53, "ext4", "rw", NULL);
  check_kind(0x01021994, "tmpfs", "rw", NULL);
  check_kind(0x58465342, "xfs", "rw", NULL);
  check_kind(0x9123683e, "btrfs", "rw", NULL);
  check_kind(0x794c7630, "overlay", "rw,lowerdir=/nfs", NULL);
}

TEST(posix_network, fuse_is_told_by_what_is_mounted) {
  check_kind(FUSE, "fuse.sshfs", "rw", "sshfs");
  check_kind(FUSE, "fuse.glusterfs", "rw", "glusterfs");
  check_kind(FUSE, "fuseblk", "rw", NULL);
  check_kind(FUSE, "fuse.bindfs", "rw", NULL);
  check_kind(FUSE, "fuse", "rw", NULL);
  check_kind(FUSE, "", "", NULL);
}

TEST(posix_network, a_sandbox_has_its_9p_to_itself) {
  check_kind(NINE_P, "9p", "rw,trans=virtio,version=9p2000.L", "9p");
  check_kind(NINE_P, "9p", "rw,trans=tcp", "9p");
  check_kind(NINE_P, "9p", "", "9p");
  check_kind(NINE_P, "9p", "trans=fd,rfdno=4,wfdno=4", NULL);
  check_kind(NINE_P, "9p", "rw,aname=drvfs;path=C:,trans=fd", "9p");
}

/* The file systems that tests run on are those of this machine. */
TEST(posix_network, a_file_of_this_machine_is_local) {
  char path[600];
  snprintf(path, sizeof path, "%s/file", test_directory());
  OsFile *file;
  CHECK_OK(os_open(os_posix(), path, OS_OPEN_CREATE, &file));
  CHECK(os_network(file) == NULL);
  os_close(file);
}
