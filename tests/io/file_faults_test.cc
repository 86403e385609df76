// What src/io makes of calls that are interrupted, do less than asked, or fail.
#include "io/file.h"
#include "io/fixture.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>

namespace cairn::io {
namespace {

using testing::bytes_of;
using testing::error_of;
using testing::fails_with;
using testing::hooks;
using testing::text_of;

class FileFaults : public testing::DirectoryTest {};

TEST_F(FileFaults, InterruptedAndShortReadsAreContinued) {
  const File file = file_with("0123456789");
  int calls = 0;
  hooks().pread = [&](int fd, void* data, std::size_t bytes, off_t offset) {
    if (++calls % 2 == 1) return ssize_t{fails_with(EINTR)};
    return testing::real_pread(fd, data, std::min<std::size_t>(bytes, 3), offset);
  };
  EXPECT_EQ(text_of(file, 1, 8), "12345678");
  EXPECT_EQ(calls, 6);
}

TEST_F(FileFaults, InterruptedAndShortWritesAreContinued) {
  const File file = file_with("----------");
  int calls = 0;
  hooks().pwrite = [&](int fd, const void* data, std::size_t bytes, off_t offset) {
    if (++calls % 2 == 1) return ssize_t{fails_with(EINTR)};
    return testing::real_pwrite(fd, data, std::min<std::size_t>(bytes, 3), offset);
  };
  file.write(1, bytes_of("12345678"));
  EXPECT_EQ(text_of(file), "-12345678-");
  EXPECT_EQ(calls, 6);
}

TEST_F(FileFaults, TransfersGoInPiecesOfAtMostOneGibibyte) {
  const File file = file_with("x");
  std::vector<std::size_t> pieces;
  hooks().pread = [&](int, void*, std::size_t bytes, off_t) {
    pieces.push_back(bytes);
    return static_cast<ssize_t>(bytes);
  };
  std::byte nothing{};
  // The hook touches no memory, so that the span need not have so much.
  file.read_exactly(0, {&nothing, (std::size_t{5} << 29) + 1});
  EXPECT_EQ(pieces, (std::vector<std::size_t>{1u << 30, 1u << 30, (1u << 29) + 1}));
}

TEST_F(FileFaults, AFailureInTheMiddleNamesTheByteThatItReached) {
  const File file = file_with("");
  hooks().pwrite = [&](int fd, const void* data, std::size_t bytes, off_t offset) {
    if (offset >= 103) return ssize_t{fails_with(EIO)};
    return testing::real_pwrite(fd, data, std::min<std::size_t>(bytes, 3), offset);
  };
  const Error error = error_of([&] { file.write(100, bytes_of("123456")); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.offset(), 103u);
}

TEST_F(FileFaults, FullDisksAndQuotasAreNoSpace) {
  const File file = file_with("");
  for (const int system_errno : {ENOSPC, EDQUOT, EFBIG}) {
    hooks().pwrite = [&](auto&&...) { return ssize_t{fails_with(system_errno)}; };
    hooks().fallocate = [&](auto&&...) { return fails_with(system_errno); };
    const Error error = error_of([&] { file.write(0, bytes_of("x")); });
    EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
    EXPECT_EQ(error.system_errno(), system_errno);
    EXPECT_EQ(error_of([&] { file.reserve(0, 1); }).code(), ErrorCode::kNoSpace);
  }
}

TEST_F(FileFaults, AWriteThatTakesNothingIsAnErrorAndNotAnEndlessLoop) {
  const File file = file_with("");
  hooks().pwrite = [](auto&&...) { return ssize_t{0}; };
  EXPECT_EQ(error_of([&] { file.write(0, bytes_of("x")); }).code(), ErrorCode::kIo);
}

TEST_F(FileFaults, AFailedReadIsReported) {
  const File file = file_with("x");
  hooks().pread = [](auto&&...) { return ssize_t{fails_with(EIO)}; };
  EXPECT_EQ(error_of([&] { text_of(file, 5); }).offset(), 5u);
}

TEST_F(FileFaults, AFlushIsNeverTriedTwice) {
  const File file = file_with("x");
  int calls = 0;
  hooks().fdatasync = hooks().fsync = [&](int) { return ++calls == 1 ? fails_with(EIO) : 0; };
  EXPECT_EQ(error_of([&] { file.sync(); }).system_errno(), EIO);
  EXPECT_EQ(calls, 1);
  calls = 0;
  EXPECT_EQ(error_of([&] { file.sync_all(); }).system_errno(), EIO);
  EXPECT_EQ(calls, 1);
}

TEST_F(FileFaults, AnInterruptedFlushIsAFailure) {
  const File file = file_with("x");
  hooks().fdatasync = [](int) { return fails_with(EINTR); };
  EXPECT_EQ(error_of([&] { file.sync(); }).system_errno(), EINTR);
}

TEST_F(FileFaults, AnInterruptedOpenOrResizeIsTriedAgain) {
  const File file = file_with("x");
  int calls = 0;
  hooks().ftruncate = [&](int, off_t) { return ++calls < 3 ? fails_with(EINTR) : 0; };
  file.resize(10);
  EXPECT_EQ(calls, 3);
  hooks().open = [&](const char*, int) {
    return ++calls < 6 ? fails_with(EINTR) : fails_with(EMFILE);
  };
  EXPECT_EQ(error_of([&] { File::create(at("new")); }).system_errno(), EMFILE);
  EXPECT_EQ(calls, 6);
}

TEST_F(FileFaults, AFileSystemThatCannotReserveOrPunchSaysSo) {
  const File file = file_with("x");
  for (const int system_errno : {EOPNOTSUPP, ENOSYS}) {
    hooks().fallocate = [&](auto&&...) { return fails_with(system_errno); };
    EXPECT_FALSE(file.reserve(0, 4096));
    EXPECT_FALSE(file.punch(0, 4096));
  }
}

TEST_F(FileFaults, AnInterruptedReservationGoesOnWhereItWas) {
  const File file = file_with("x");
  std::vector<off_t> offsets;
  hooks().fallocate = [&](int, int, off_t offset, off_t) {
    offsets.push_back(offset);
    return offsets.size() == 2 ? fails_with(EINTR) : 0;
  };
  EXPECT_TRUE(file.reserve(0, std::uint64_t{3} << 30));
  EXPECT_EQ(offsets, (std::vector<off_t>{0, off_t{1} << 30, off_t{1} << 30, off_t{2} << 30}));
}

TEST_F(FileFaults, ADirectoryThatCannotBeFlushedIsToleratedAndAnyOtherFailureIsNot) {
  hooks().fsync = [](int) { return fails_with(EINVAL); };
  EXPECT_NO_THROW(sync_directory(directory_));
  hooks().fsync = [](int) { return fails_with(EIO); };
  const Error error = error_of([&] { sync_directory(directory_); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.path(), directory_);
}

TEST_F(FileFaults, NoPermissionIsAnIoErrorAndNotAbsence) {
  hooks().open = [](auto&&...) { return fails_with(EACCES); };
  const Error error = error_of([&] { File::open_if_exists(at("file"), File::Access::kRead); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.what(), "cannot open: " + at("file").string() + " (Permission denied)");
}

}  // namespace
}  // namespace cairn::io
