#include "crash/event_log.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace cairn::crash {
namespace {

constexpr std::string_view kEveryKind =
    "mkdir 0 store 1\n"
    "create 1 pack.tmp 2\n"
    "write 2 512 00ff10\n"
    "syncrange 2 512 3\n"
    "punch 2 0 512\n"
    "truncate 2 100\n"
    "sync 2\n"
    "rename 1 pack.tmp 1 pack\n"
    "syncdir 1\n"
    "unlink 1 pack\n"
    "note begin 3\n";

std::string message_of(std::string_view text) {
  try {
    from_text(text);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST(EventLog, SurvivesAsText) {
  const EventLog log = from_text(kEveryKind);
  EXPECT_EQ(log.size(), 11U);
  EXPECT_EQ(to_text(log), kEveryKind);
}

TEST(EventLog, LeavesOutCommentsAndEmptyLines) {
  EXPECT_EQ(from_text("# made by hand\n\nsync 2").size(), 1U);
}

TEST(EventLog, NamesTheLineThatIsWrong) {
  EXPECT_EQ(message_of("sync 2\nflush 2\n"), "event log, line 2: no such event: flush");
  EXPECT_EQ(message_of("truncate 2\n"), "event log, line 1: a word is missing");
  EXPECT_EQ(message_of("truncate 2 x\n"), "event log, line 1: no number: x");
  EXPECT_EQ(message_of("write 2 0 0g\n"), "event log, line 1: no hexadecimal digits");
  EXPECT_EQ(message_of("sync 2 3\n"), "event log, line 1: too many words");
}

}  // namespace
}  // namespace cairn::crash
