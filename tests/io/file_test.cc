#include "io/file.h"

#include "io/fixture.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace cairn::io {
namespace {

using testing::bytes_of;
using testing::error_of;
using testing::text_of;

class FileTest : public testing::DirectoryTest {
 protected:
  void expect_refused(const std::filesystem::path& path, std::string_view message) const {
    for (const auto access : {File::Access::kRead, File::Access::kReadWrite}) {
      const Error error = error_of([&] { File::open(path, access); });
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      EXPECT_EQ(error.path(), path);
    }
    const Error error = error_of([&] { File::open(path, File::Access::kRead); });
    EXPECT_NE(std::string_view(error.what()).find(message), std::string_view::npos) << error.what();
  }
};

// While it lives, no file may grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    original_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &original_);
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = original_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &original_);
    std::signal(SIGXFSZ, original_handler_);
  }

 private:
  struct rlimit original_ {};
  void (*original_handler_)(int) = nullptr;
};

TEST_F(FileTest, AMissingFileIsNotFound) {
  const Error error = error_of([&] { File::open(at("none"), File::Access::kRead); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.path(), at("none"));
  EXPECT_EQ(File::open_if_exists(at("none"), File::Access::kReadWrite), std::nullopt);
}

TEST_F(FileTest, NothingIsFoundBelowAFile) {
  file_with("x");
  EXPECT_EQ(File::open_if_exists(at("file/none"), File::Access::kRead), std::nullopt);
}

TEST_F(FileTest, CreateEmptiesAFile) {
  file_with("old");
  EXPECT_EQ(File::create(at("file")).bytes(), 0u);
}

TEST_F(FileTest, CreateNewLeavesAnExistingFileAlone) {
  file_with("old");
  EXPECT_EQ(error_of([&] { File::create_new(at("file")); }).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(text_of(File::open(at("file"), File::Access::kRead)), "old");
  EXPECT_EQ(File::create_new(at("new")).bytes(), 0u);
}

TEST_F(FileTest, OpenOrCreateKeepsWhatIsThere) {
  EXPECT_EQ(File::open_or_create(at("file")).bytes(), 0u);
  file_with("old");
  EXPECT_EQ(text_of(File::open_or_create(at("file"))), "old");
}

TEST_F(FileTest, CreatingInAMissingDirectoryIsAnIoError) {
  const Error error = error_of([&] { File::create(at("none/file")); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.system_errno(), ENOENT);
}

TEST_F(FileTest, ADirectoryIsRefused) {
  make_directory(at("dir"));
  expect_refused(at("dir"), "directory");
  EXPECT_EQ(error_of([&] { File::create(at("dir")); }).code(), ErrorCode::kIo);
}

TEST_F(FileTest, ANamedPipeIsRefusedWithoutWaitingForItsOtherEnd) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  expect_refused(at("pipe"), "a named pipe where a regular file is needed");
  EXPECT_EQ(error_of([&] { File::open_or_create(at("pipe")); }).code(), ErrorCode::kIo);
}

TEST_F(FileTest, ADeviceIsRefused) {
  expect_refused("/dev/null", "a device");
}

TEST_F(FileTest, ASocketIsRefused) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  at("socket").native().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<struct sockaddr*>(&address), sizeof(address)), 0);
  expect_refused(at("socket"), "cannot open");
  ::close(socket);
}

TEST_F(FileTest, DescriptorsAreClosedOnExec) {
  EXPECT_EQ(::fcntl(file_with("x").descriptor(), F_GETFD), FD_CLOEXEC);
}

TEST_F(FileTest, ClosesOnDestruction) {
  int descriptor = -1;
  {
    const File file = file_with("x");
    descriptor = file.descriptor();
    EXPECT_TRUE(file.is_open());
  }
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
}

TEST_F(FileTest, AMoveTakesTheDescriptorAlong) {
  File first = file_with("first", "a");
  File second = file_with("second", "b");
  const int replaced = second.descriptor();
  second = std::move(first);
  EXPECT_FALSE(first.is_open());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(text_of(second), "first");
  EXPECT_EQ(second.path(), at("a"));
  EXPECT_EQ(::fcntl(replaced, F_GETFD), -1);
}

TEST_F(FileTest, ReadsStopAtTheEnd) {
  const File file = file_with("0123456789");
  EXPECT_EQ(text_of(file, 6, 100), "6789");
  EXPECT_EQ(text_of(file, 10, 100), "");
  EXPECT_EQ(text_of(file, 1000, 100), "");
}

TEST_F(FileTest, ReadingMoreThanThereIsExactlyIsTruncated) {
  const File file = file_with("0123456789");
  std::vector<std::byte> out(5);
  file.read_exactly(5, out);
  EXPECT_EQ(out, bytes_of("56789"));
  const Error error = error_of([&] { file.read_exactly(6, out); });
  EXPECT_EQ(error.code(), ErrorCode::kTruncated);
  EXPECT_EQ(error.offset(), 6u);
  EXPECT_EQ(error.what(),
            "the file ends after 4 of 5 bytes to read: " + file.path().string() + " at byte 6");
}

TEST_F(FileTest, AnOffsetBeyondWhatFilesCanHaveIsAnError) {
  const File file = file_with("x");
  std::vector<std::byte> out(1);
  EXPECT_EQ(error_of([&] { file.read_some(~std::uint64_t{0}, out); }).code(), ErrorCode::kIo);
  EXPECT_EQ(error_of([&] { file.write(std::uint64_t{1} << 63, out); }).code(), ErrorCode::kIo);
  EXPECT_EQ(error_of([&] { file.resize(~std::uint64_t{0}); }).code(), ErrorCode::kIo);
}

TEST_F(FileTest, WritesBeyondTheEndLeaveZerosBetween) {
  const File file = file_with("ab");
  file.write(4, bytes_of("ef"));
  EXPECT_EQ(text_of(file), std::string("ab\0\0ef", 6));
}

TEST_F(FileTest, WritesOnlyTheRangeItIsGiven) {
  const File file = file_with("0123456789");
  file.write(3, bytes_of("abc"));
  file.write(5, {});
  EXPECT_EQ(text_of(file), "012abc6789");
}

TEST_F(FileTest, AFailureToWriteSaysWhereAndWhy) {
  file_with("x");
  const File file = File::open(at("file"), File::Access::kRead);
  const Error error = error_of([&] { file.write(7, bytes_of("y")); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.system_errno(), EBADF);
  EXPECT_EQ(error.what(),
            "cannot write: " + at("file").string() + " at byte 7 (Bad file descriptor)");
}

TEST_F(FileTest, ALimitOnTheSizeOfFilesIsNoSpace) {
  const File file = file_with("x");
  const FileSizeLimit limit(4096);
  const std::vector<std::byte> page(4096);
  const Error error = error_of([&] { file.write(1, page); });
  EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
  EXPECT_EQ(error.system_errno(), EFBIG);
  EXPECT_EQ(error.offset(), 4096u);
  EXPECT_EQ(error_of([&] { file.resize(8192); }).code(), ErrorCode::kNoSpace);
}

TEST_F(FileTest, ResizeCutsAndGrows) {
  const File file = file_with("0123456789");
  file.resize(4);
  EXPECT_EQ(text_of(file), "0123");
  file.resize(6);
  EXPECT_EQ(text_of(file), std::string("0123\0\0", 6));
}

TEST_F(FileTest, FlushesWork) {
  const File file = file_with("x");
  EXPECT_NO_THROW(file.sync());
  EXPECT_NO_THROW(file.sync_all());
}

TEST_F(FileTest, ReservingChangesNeitherSizeNorContents) {
  const File file = file_with("0123456789");
  const std::uint64_t before = file.allocated_bytes();
  const bool reserved = file.reserve(0, 1 << 20);
  EXPECT_EQ(file.bytes(), 10u);
  EXPECT_EQ(text_of(file), "0123456789");
  if (reserved) {
    EXPECT_GE(file.allocated_bytes(), std::max<std::uint64_t>(before, 1 << 20));
  }
}

TEST_F(FileTest, APunchedRangeReadsAsZerosAndOccupiesLess) {
  const std::vector<std::byte> data(1 << 20, std::byte{'x'});
  const File file = file_with("");
  file.write(0, data);
  file.sync();
  const std::uint64_t before = file.allocated_bytes();
  if (file.punch(65536, 65536)) {
    EXPECT_EQ(text_of(file, 65536, 65536), std::string(65536, '\0'));
    EXPECT_LT(file.allocated_bytes(), before);
  }
  EXPECT_EQ(file.bytes(), data.size());
  EXPECT_EQ(text_of(file, 65535, 1) + text_of(file, 131072, 1), "xx");
}

TEST_F(FileTest, AnEmptyRangeNeedsNothing) {
  const File file = file_with("x");
  EXPECT_TRUE(file.reserve(100, 0));
  EXPECT_TRUE(file.punch(100, 0));
}

TEST_F(FileTest, ItsIdentityStaysWhenItsNameChanges) {
  const File file = file_with("x");
  EXPECT_EQ(file_id(at("file")), file.id());
  rename_file(at("file"), at("other"));
  EXPECT_EQ(file_id(at("other")), file.id());
  EXPECT_EQ(file_id(at("file")), std::nullopt);
  EXPECT_NE(file_with("x").id(), file.id());
}

}  // namespace
}  // namespace cairn::io
