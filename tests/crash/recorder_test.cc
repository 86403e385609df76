#include "crash/recorder.h"

#include "crash/explorer.h"
#include "crash/tree.h"

#include <gtest/gtest.h>

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
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
  ::close(make("f"));
  const int fd = ::open((directory_.path() / "f").c_str(), O_RDWR | O_DIRECT);
  EXPECT_EQ(::pwrite(fd, "a", 1, 0), 1);  // unaligned: under the recorder any file system takes it
  EXPECT_EQ(recorder_.direct_writes(), 1U);
  ::close(fd);
  EXPECT_EQ(log(), "syncdir 0\ncreate 0 f 1\nwrite 1 0 61\n");
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
