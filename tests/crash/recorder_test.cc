#include "crash/recorder.h"

#include "crash/explorer.h"
#include "crash/tree.h"
#include "io/aligned_buffer.h"
#include "io/file.h"

#include <gtest/gtest.h>

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

namespace cairn::crash {
namespace {

/// A directory under the recorder, and calls on a file in it.
class RecorderTest : public ::testing::Test {
 protected:
  int make(const char* name, int flags = 0) {
    return ::open((directory_.path() / name).c_str(), O_RDWR | O_CREAT | flags, 0666);
  }
  int make_direct(const char* name) {
    ::close(make(name));
    return ::open((directory_.path() / name).c_str(), O_RDWR | O_DIRECT);
  }
  std::string log() { return to_text(recorder_.finish()); }
  std::string escape() {
    try {
      recorder_.finish();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "nothing escaped";
  }

  FastDirectory directory_;
  Recorder recorder_{directory_.path()};
};

TEST_F(RecorderTest, SeesWritesWhereverTheyGo) {
  const int fd = make("f");
  EXPECT_EQ(::pwrite(fd, "a", 1, 2), 1);
  EXPECT_EQ(::write(fd, "b", 1), 1);
  std::array<iovec, 2> pieces{{{.iov_base = const_cast<char*>("cd"), .iov_len = 2},
                               {.iov_base = const_cast<char*>("e"), .iov_len = 1}}};
  EXPECT_EQ(::writev(fd, pieces.data(), 2), 3);
  EXPECT_EQ(::fdatasync(fd), 0);
  EXPECT_EQ(::ftruncate(fd, 2), 0);
  ::close(fd);
  EXPECT_EQ(log(),
            "syncdir 0\ncreate 0 f 1\nwrite 1 2 61\nwrite 1 0 62\nwrite 1 1 636465\nsync 1\n"
            "truncate 1 2\n");
}

TEST_F(RecorderTest, SeesThatASynchronousWriteIsDurable) {
  const int fd = make("f", O_DSYNC);
  EXPECT_EQ(::pwrite(fd, "a", 1, 0), 1);
  ::close(fd);
  EXPECT_EQ(log(), "syncdir 0\ncreate 0 f 1\nwrite 1 0 61\nsyncrange 1 0 1\n");
}

TEST_F(RecorderTest, CountsWritesThatGoPastThePageCache) {
  const int fd = make_direct("f");
  io::AlignedBuffer block(io::File::kDirectBlock);
  EXPECT_EQ(::pwrite(fd, block.data(), block.size(), 0), static_cast<ssize_t>(block.size()));
  EXPECT_EQ(recorder_.direct_writes(), 1U);
  ::close(fd);
  EXPECT_EQ(escape(), "nothing escaped");
}

TEST_F(RecorderTest, NoticesADirectTransferThatIsNotAligned) {
  const int fd = make_direct("f");
  io::AlignedBuffer blocks(2 * io::File::kDirectBlock);
  const auto wrong = [&](std::size_t address, std::size_t bytes, off_t offset) {
    ::pwrite(fd, blocks.data() + address, bytes, offset);
    ::pread(fd, blocks.data() + address, bytes, offset);
  };
  wrong(512, io::File::kDirectBlock, 0);
  wrong(0, 512, 0);
  wrong(0, io::File::kDirectBlock, 512);
  wrong(0, io::File::kDirectBlock, 0);  // this is right
  ::close(fd);
  const std::string text = escape();
  const auto times = [&](std::string_view word) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(times("a direct transfer that is not aligned"), 6U) << text;
  EXPECT_EQ(times("512 bytes at 0"), 2U) << text;
  EXPECT_EQ(times("4096 bytes at 512"), 2U) << text;
}

TEST_F(RecorderTest, OpensPastThePageCacheWhereTheFileSystemCan) {
  const auto flags_of = [](int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    ::close(fd);
    return fd < 0 ? 0 : flags & O_DIRECT;
  };
  ::close(make("f"));
  const std::string path = (directory_.path() / "f").string();
  // Below, nothing is recorded: the path is another's.
  const int asked = ::open(("/proc/self/root" + path).c_str(), O_RDWR | O_DIRECT);
  EXPECT_EQ(flags_of(::open(path.c_str(), O_RDWR | O_DIRECT)), flags_of(asked));
}

TEST_F(RecorderTest, LetsANoteStandBeforeEachEventAndBeforeNothingElse) {
  recorder_.set_interference({.before = [&] { recorder_.note("next"); }});
  const int fd = make("f");
  EXPECT_EQ(::pwrite(fd, "a", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(::pread(fd, &byte, 1, 0), 1);
  ::close(fd);
  EXPECT_EQ(log(), "syncdir 0\nnote next\ncreate 0 f 1\nnote next\nwrite 1 0 61\n");
}

TEST_F(RecorderTest, SeesNames) {
  ::close(make("f"));
  EXPECT_EQ(::rename((directory_.path() / "f").c_str(), (directory_.path() / "g").c_str()), 0);
  EXPECT_EQ(::unlink((directory_.path() / "g").c_str()), 0);
  EXPECT_EQ(log(), "syncdir 0\ncreate 0 f 1\nrename 0 f 0 g\nunlink 0 g\n");
}

TEST_F(RecorderTest, NoticesAFileThatWasWrittenPastIt) {
  // libstdc++ is a shared library, into which wrapping does not reach.
  std::ofstream(directory_.path() / "f") << "unseen";
  EXPECT_EQ(escape(),
            "something escaped the recorder:\n  the log does not replay to the real files");
}

TEST_F(RecorderTest, NoticesASharedWritableMapping) {
  const int fd = make("f");
  EXPECT_EQ(::ftruncate(fd, 4096), 0);
  void* const map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_NE(escape().find("a shared writable mapping"), std::string::npos);
  ::munmap(map, 4096);
  ::close(fd);
}

}  // namespace
}  // namespace cairn::crash
