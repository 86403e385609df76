#include "crash/crash_states.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

namespace cairn::crash {
namespace {

std::string sectors(std::string_view letters) {
  std::string hex;
  for (const char letter : letters) {
    for (std::uint64_t i = 0; i < kSectorBytes; ++i) hex += letter == 'a' ? "61" : "62";
  }
  return hex;
}

/// Every state after the whole log, in short: "NAME=" and the first letter of each sector ('.' for
/// a zero), names separated by spaces.
std::set<std::string> states(const std::string& text, NameRule rule = NameRule::kStrict) {
  const EventLog log = from_text(text);
  Disk disk(rule);
  for (const Event& event : log) disk.apply(event);
  std::mt19937_64 random(1);
  std::set<std::string> found;
  for (const Choice& choice : choices(disk, {.at_most = 1 << 12}, random).list) {
    std::string state;
    for (const auto& [path, bytes] : disk.state(choice).files) {
      if (!state.empty()) state += ' ';
      state += path + "=";
      for (std::size_t at = 0; at < bytes.size(); at += kSectorBytes) {
        state += bytes[at] == std::byte{0} ? '.' : static_cast<char>(bytes[at]);
      }
    }
    found.insert(state);
  }
  return found;
}

using States = std::set<std::string>;

const std::string kFile = "create 0 f 1\nsyncdir 0\n";
const std::string kTwoSectors =
    kFile + "write 1 0 " + sectors("aa") + "\nsync 1\n";  // of letters 'a', durable

TEST(CrashStates, ASyncedWriteIsThere) {
  EXPECT_EQ(states(kTwoSectors), States{"f=aa"});
}

TEST(CrashStates, AnOverwriteIsTornBetweenSectors) {
  EXPECT_EQ(states(kTwoSectors + "write 1 0 " + sectors("bb") + "\n"),
            (States{"f=aa", "f=ab", "f=ba", "f=bb"}));
}

TEST(CrashStates, ASectorIsFoundAtAnyPointOfItsOwnHistory) {
  EXPECT_EQ(states(kFile + "write 1 0 " + sectors("a") + "\nsync 1\nwrite 1 0 " + sectors("b") +
                   "\npunch 1 0 512\n"),
            (States{"f=a", "f=b", "f=."}));
}

TEST(CrashStates, ALengthComesWithoutBytesAndBytesWithoutLength) {
  EXPECT_EQ(states(kFile + "write 1 0 " + sectors("a") + "\n"), (States{"f=", "f=.", "f=a"}));
}

TEST(CrashStates, ATruncationIsHalfDone) {
  EXPECT_EQ(states(kTwoSectors + "truncate 1 512\n"), (States{"f=aa", "f=a.", "f=a"}));
}

TEST(CrashStates, ASynchronousWriteMakesItsOwnRangeDurable) {
  EXPECT_EQ(states(kTwoSectors + "write 1 0 " + sectors("bb") + "\nsyncrange 1 0 512\n"),
            (States{"f=ba", "f=bb"}));
}

TEST(CrashStates, ByTheStrictRuleOnlyADirectorySyncMakesANameDurable) {
  const std::string log = "create 0 f 1\nwrite 1 0 61\nsync 1\n";
  EXPECT_EQ(states(log), (States{"", "f=a"}));
  EXPECT_EQ(states(log + "syncdir 0\n"), States{"f=a"});
}

TEST(CrashStates, OnExt4SyncingANewFileMakesItsNameDurable) {
  EXPECT_EQ(states("create 0 f 1\nwrite 1 0 61\nsync 1\n", NameRule::kExt4), States{"f=a"});
}

TEST(CrashStates, NamesComeInAnyChoiceByTheStrictRuleAndInOrderOnExt4) {
  const std::string log = "create 0 f 1\ncreate 0 g 2\n";
  EXPECT_EQ(states(log), (States{"", "f=", "g=", "f= g="}));
  EXPECT_EQ(states(log, NameRule::kExt4), (States{"", "f=", "f= g="}));
}

TEST(CrashStates, ARenameIsThereOrNot) {
  EXPECT_EQ(states(kTwoSectors + "rename 0 f 0 g\n"), (States{"f=aa", "g=aa"}));
}

TEST(CrashStates, NewBlocksHoldOldBytesWhereNoneHaveCome) {
  const EventLog log =
      from_text(kTwoSectors + "write 1 1024 " + sectors("bb") + "\ntruncate 1 2560\n");
  Disk disk(NameRule::kStrict);
  for (const Event& event : log) disk.apply(event);
  ASSERT_EQ(disk.unit_count(), 4U);  // two sectors, and two lengths
  const auto bytes = [&](const Choice& choice) {
    return disk.state(choice, NewBlocks::kOldBytes).files.at("f");
  };
  const auto sector_is = [](const Bytes& file, std::size_t sector, const auto& right) {
    const auto begin = file.begin() + static_cast<std::ptrdiff_t>(sector * kSectorBytes);
    return std::all_of(begin, begin + kSectorBytes, right);
  };
  const auto is = [](char letter) {
    return [=](std::byte byte) { return byte == static_cast<std::byte>(letter); };
  };
  const auto is_old = [](std::byte byte) { return byte != std::byte{0}; };
  const Bytes file = bytes({false, true, true, true});
  ASSERT_EQ(file.size(), 5 * kSectorBytes);
  EXPECT_TRUE(sector_is(file, 1, is('a')) && sector_is(file, 3, is('b')));
  EXPECT_TRUE(sector_is(file, 2, is_old) && !sector_is(file, 2, is('b')));
  EXPECT_TRUE(sector_is(file, 4, is('\0'))) << "nothing was to be written there";
  EXPECT_EQ(bytes({false, false, false, false}).size(), 2 * kSectorBytes);
}

TEST(CrashStates, NoneAndAllAreLookedAtHoweverFewAre) {
  const EventLog log = from_text(kTwoSectors + "write 1 0 " + sectors("bb") + "\npunch 1 0 1024\n");
  Disk disk(NameRule::kStrict);
  for (const Event& event : log) disk.apply(event);
  ASSERT_EQ(disk.unit_count(), 4U);
  std::mt19937_64 random(1);
  const Choices all = choices(disk, {.at_most = 16}, random);
  EXPECT_TRUE(all.is_exhaustive);
  EXPECT_EQ(std::set(all.list.begin(), all.list.end()).size(), 16U);
  const Choices few = choices(disk, {.at_most = 3}, random);
  EXPECT_FALSE(few.is_exhaustive);
  EXPECT_EQ(few.list.size(), 3U);
  EXPECT_EQ(std::count(few.list.begin(), few.list.end(), Choice(4, false)), 1);
  EXPECT_EQ(std::count(few.list.begin(), few.list.end(), Choice(4, true)), 1);
  EXPECT_FALSE(choices(disk, {.exhaustive_units = 3}, random).is_exhaustive);
}

TEST(CrashStates, AFileInADirectoryWithoutANameIsLost) {
  EXPECT_EQ(states("mkdir 0 d 1\ncreate 1 f 2\nsyncdir 1\n"), (States{"", "d/f="}));
}

}  // namespace
}  // namespace cairn::crash
