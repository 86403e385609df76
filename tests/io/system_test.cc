#include "io/fixture.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <linux/magic.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace cairn::io {
namespace {

using testing::error_of;
using testing::fails_with;
using testing::hooks;

class System : public testing::DirectoryTest {
 protected:
  // Makes every file system one of that type, mounted with those flags.
  static void pretend(std::uint32_t type, long flags = 0) {
    hooks().statfs = [=](const char*, struct statfs* out) {
      *out = {};
      out->f_type = type;
      out->f_flags = flags;
      return 0;
    };
  }
};

TEST_F(System, KnowsNetworkFileSystemsByName) {
  pretend(NFS_SUPER_MAGIC);
  EXPECT_EQ(network_file_system(directory_), "nfs");
  pretend(0xFF534D42);
  EXPECT_EQ(network_file_system(directory_), "cifs");
  pretend(0x0BD00BD0);
  EXPECT_EQ(network_file_system(directory_), "lustre");
  pretend(V9FS_MAGIC);
  EXPECT_EQ(network_file_system(directory_), "9p");
}

TEST_F(System, LocalFileSystemsAreNoNetwork) {
  for (const std::uint32_t type :
       std::initializer_list<std::uint32_t>{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                            TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, FUSE_SUPER_MAGIC}) {
    pretend(type);
    EXPECT_EQ(network_file_system(directory_), std::nullopt) << type;
  }
}

TEST_F(System, KnowsAReadOnlyMount) {
  pretend(EXT4_SUPER_MAGIC, ST_RDONLY | ST_NOATIME);
  EXPECT_TRUE(on_read_only_file_system(directory_));
  pretend(EXT4_SUPER_MAGIC, ST_NOATIME);
  EXPECT_FALSE(on_read_only_file_system(directory_));
}

TEST_F(System, KnowsFileSystemsInMemory) {
  pretend(TMPFS_MAGIC);
  EXPECT_TRUE(on_memory_file_system(directory_));
  pretend(EXT4_SUPER_MAGIC);
  EXPECT_FALSE(on_memory_file_system(directory_));
}

TEST_F(System, TheDirectoryOfThisTestIsWritable) {
  EXPECT_FALSE(on_read_only_file_system(directory_));
}

TEST_F(System, AFileSystemThatCannotBeInspectedIsAnError) {
  EXPECT_EQ(error_of([&] { network_file_system(at("none")); }).system_errno(), ENOENT);
  EXPECT_EQ(error_of([&] { on_read_only_file_system(at("none")); }).system_errno(), ENOENT);
}

TEST_F(System, RandomBytesComeWholeThoughInterruptedAndShort) {
  int calls = 0;
  hooks().getrandom = [&](void* data, std::size_t bytes) {
    if (++calls % 2 == 1) return ssize_t{fails_with(EINTR)};
    return testing::real_getrandom(data, std::min<std::size_t>(bytes, 7));
  };
  std::array<std::byte, 64> first{}, second{};
  fill_random(first);
  fill_random(second);
  EXPECT_NE(first, second);
  EXPECT_NE(std::count(first.begin() + 32, first.end(), std::byte{0}), 32);
}

TEST_F(System, WithoutRandomBytesThereIsAnError) {
  hooks().getrandom = [](auto&&...) { return ssize_t{fails_with(ENOSYS)}; };
  std::array<std::byte, 16> out{};
  EXPECT_EQ(error_of([&] { fill_random(out); }).code(), ErrorCode::kIo);
}

TEST_F(System, SaysWhoAndWhenThisIs) {
  EXPECT_FALSE(host_name().empty());
  EXPECT_EQ(process_id(), ::getpid());
  constexpr std::int64_t kYear2020 = 1'577'836'800'000'000'000;
  EXPECT_GT(unix_time_ns(), kYear2020);
}

}  // namespace
}  // namespace cairn::io
