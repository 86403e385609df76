#include <cairn/error.h>

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

namespace cairn {
namespace {

TEST(Error, SaysMessagePathOffsetAndErrno) {
  const Error error(ErrorCode::kIo, "cannot write",
                    {.path = "/data/pack", .offset = 4096, .system_errno = EIO});
  EXPECT_STREQ(error.what(), "cannot write: /data/pack at byte 4096 (Input/output error)");
}

TEST(Error, SaysNoMoreThanIsKnown) {
  EXPECT_STREQ(Error(ErrorCode::kBusy, "locked").what(), "locked");
  EXPECT_STREQ(Error(ErrorCode::kDamaged, "bad root", {.path = "pack"}).what(), "bad root: pack");
}

TEST(Error, SaysAnOffsetOnlyOfAFileThatItNames) {
  // The message has the place already, once for each of several.
  const Error error(ErrorCode::kDamaged, "bad: pack at byte 7; bad: pack at byte 9", {.offset = 7});
  EXPECT_STREQ(error.what(), "bad: pack at byte 7; bad: pack at byte 9");
  EXPECT_EQ(error.offset(), 7u);
}

TEST(Error, KeepsCodeAndContextForPrograms) {
  const Error error(ErrorCode::kNoSpace, "full",
                    {.path = "pack", .offset = 7, .system_errno = ENOSPC});
  EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
  EXPECT_EQ(error.path(), "pack");
  EXPECT_EQ(error.offset(), 7u);
  EXPECT_EQ(error.system_errno(), ENOSPC);
}

TEST(Error, StaysOnOneLineWhateverThePathHolds) {
  const Error error(ErrorCode::kIo, "cannot open", {.path = "a\nb\x1b[2J\xff"});
  EXPECT_STREQ(error.what(), R"(cannot open: "a\nb\u001b[2J\xff")");
}

TEST(Error, ShowsAPlainPathAsItIs) {
  const Error error(ErrorCode::kIo, "cannot open", {.path = "Größe/\"x\" 1"});
  EXPECT_STREQ(error.what(), "cannot open: Größe/\"x\" 1");
}

TEST(Error, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kForked); ++code) {
    names.insert(to_string(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), 13u);
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(to_string(ErrorCode::kCommitUnknown), "commit_unknown");
}

}  // namespace
}  // namespace cairn
