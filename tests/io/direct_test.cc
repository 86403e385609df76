// Transfers past the page cache, and what they fall back to.
#include "io/aligned_buffer.h"
#include "io/fixture.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>

namespace cairn::io {
namespace {

using testing::bytes_of;
using testing::error_of;
using testing::fails_with;
using testing::hooks;
using testing::text_of;

constexpr std::size_t kBlock = File::kDirectBlock;

class Direct : public testing::DirectoryTest {
 protected:
  /// A file of zeros that takes direct transfers; the test is skipped where none does.
  File direct_file(std::size_t blocks) {
    File file = File::create(at("file"));
    file.write(0, std::vector<std::byte>(blocks * kBlock));
    if (!file.enable_direct()) ADD_FAILURE() << "the tests' file system takes no direct transfers";
    return file;
  }

  /// So many blocks, each filled with another byte.
  static AlignedBuffer blocks(std::size_t count) {
    AlignedBuffer buffer(count * kBlock);
    for (std::size_t i = 0; i < count; ++i) {
      std::memset(buffer.data() + i * kBlock, 'a' + static_cast<int>(i), kBlock);
    }
    return buffer;
  }

  /// The first byte of every block, read through the cache.
  static std::string first_bytes(const File& file) {
    std::string firsts;
    for (std::uint64_t at = 0; at < file.bytes(); at += kBlock) firsts += text_of(file, at, 1);
    return firsts;
  }
};

TEST_F(Direct, EachWaySeesWhatTheOtherWrote) {
  const File file = direct_file(3);
  file.write_direct(kBlock, blocks(2).span());
  EXPECT_EQ(first_bytes(file), std::string("\0ab", 3));
  file.write(2 * kBlock, bytes_of("Z"));
  AlignedBuffer back(3 * kBlock);
  EXPECT_EQ(file.read_some_direct(0, back.span()), 3 * kBlock);
  EXPECT_EQ(back.span()[kBlock], std::byte{'a'});
  EXPECT_EQ(back.span()[2 * kBlock], std::byte{'Z'});
  file.write_direct(2 * kBlock, blocks(1).span());
  EXPECT_EQ(first_bytes(file), std::string("\0aa", 3));
}

TEST_F(Direct, GoesPastThePageCache) {
  const File file = direct_file(4);
  file.write_direct(0, blocks(4).span());
  EXPECT_FALSE(file.is_cached(0, 4 * kBlock));
  EXPECT_EQ(first_bytes(file), "abcd");
  EXPECT_TRUE(file.is_cached(0, 4 * kBlock));
  EXPECT_TRUE(file.is_cached(kBlock + 1, 10));
}

TEST_F(Direct, WhatIsNotAlignedGoesThroughTheCache) {
  const File file = direct_file(2);
  const AlignedBuffer data = blocks(2);
  file.write_direct(1, data.span().first(kBlock));         // offset
  file.write_direct(kBlock, data.span().subspan(4, 100));  // length, and memory
  EXPECT_EQ(text_of(file, 0, 2), std::string("\0a", 2));
  AlignedBuffer back(kBlock);
  EXPECT_EQ(file.read_some_direct(kBlock, back.span().first(7)), 7u);
  EXPECT_EQ(back.span()[6], std::byte{'a'});
}

TEST_F(Direct, AShortTransferIsContinuedFromAnyByte) {
  const File file = direct_file(3);
  int writes = 0;
  hooks().pwrite = [&](int fd, const void* data, std::size_t bytes, off_t offset) {
    // The first is cut short behind its first block, in the middle of which the file ends up.
    if (++writes > 1) return testing::real_pwrite(fd, data, bytes, offset);
    return testing::real_pwrite(file.descriptor(), data, kBlock + 5, offset);
  };
  file.write_direct(0, blocks(3).span());
  EXPECT_EQ(writes, 2);
  EXPECT_EQ(first_bytes(file), "abc");

  int reads = 0;
  hooks().pread = [&](int fd, void* data, std::size_t bytes, off_t offset) {
    if (++reads > 1) return testing::real_pread(fd, data, bytes, offset);
    return testing::real_pread(file.descriptor(), data, kBlock + 5, offset);
  };
  AlignedBuffer back(3 * kBlock);
  EXPECT_EQ(file.read_some_direct(0, back.span()), 3 * kBlock);
  EXPECT_EQ(std::memcmp(back.data(), blocks(3).data(), 3 * kBlock), 0);
}

TEST_F(Direct, ReadingEndsWhereTheFileDoes) {
  const File file = direct_file(2);
  file.resize(kBlock + 10);
  AlignedBuffer back(3 * kBlock);
  EXPECT_EQ(file.read_some_direct(0, back.span()), kBlock + 10);
  EXPECT_EQ(file.read_some_direct(2 * kBlock, back.span()), 0u);
}

TEST_F(Direct, ATransferThatIsRefusedGoesThroughTheCache) {
  const File file = direct_file(2);
  hooks().pwrite = [&](int fd, const void* data, std::size_t bytes, off_t offset) {
    if (fd != file.descriptor()) return ssize_t{fails_with(EINVAL)};
    return testing::real_pwrite(fd, data, bytes, offset);
  };
  hooks().pread = [&](int fd, void* data, std::size_t bytes, off_t offset) {
    if (fd != file.descriptor()) return ssize_t{fails_with(EINVAL)};
    return testing::real_pread(fd, data, bytes, offset);
  };
  file.write_direct(0, blocks(2).span());
  AlignedBuffer back(2 * kBlock);
  EXPECT_EQ(file.read_some_direct(0, back.span()), 2 * kBlock);
  EXPECT_EQ(std::memcmp(back.data(), blocks(2).data(), 2 * kBlock), 0);
}

TEST_F(Direct, OtherFailuresAreToldAsSuch) {
  const File file = direct_file(1);
  hooks().pwrite = [](auto&&...) { return ssize_t{fails_with(ENOSPC)}; };
  EXPECT_EQ(error_of([&] { file.write_direct(0, blocks(1).span()); }).code(), ErrorCode::kNoSpace);
  hooks().pread = [](auto&&...) { return ssize_t{fails_with(EIO)}; };
  AlignedBuffer back(kBlock);
  EXPECT_EQ(error_of([&] { file.read_some_direct(0, back.span()); }).code(), ErrorCode::kIo);
}

TEST_F(Direct, AFileSystemThatRefusesToOpenItSoLeavesTheFileBuffered) {
  File file = File::create(at("file"));
  hooks().open = [](const char*, int flags) {
    return (flags & O_DIRECT) != 0 ? fails_with(EINVAL) : 0;
  };
  EXPECT_FALSE(file.enable_direct());
  file.write_direct(0, blocks(1).span());
  EXPECT_EQ(first_bytes(file), "a");
}

TEST_F(Direct, AnotherFileUnderTheSameNameIsNotTaken) {
  File file = File::create(at("file"));
  std::filesystem::rename(at("file"), at("moved"));
  File::create(at("file"));
  EXPECT_FALSE(file.enable_direct());
}

}  // namespace
}  // namespace cairn::io
