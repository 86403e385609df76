#include "format/names.h"

#include "expect_error.h"
#include "format/layout.h"

#include <optional>
#include <set>
#include <string>

namespace cairn::format {
namespace {

TEST(Names, CheckpointNamesMayBeAnyTextWithoutSlashesAndControls) {
  for (const std::string& name :
       {std::string("a"), std::string("epoch 3, loss=1.5"), std::string("\u00e9poque \U0001F600"),
        std::string("."), std::string("42"), std::string(kMaxNameBytes, 'x')}) {
    EXPECT_EQ(checkpoint_name_problem(name), std::nullopt) << name;
  }
}

TEST(Names, CheckpointNamesAreRefusedWithTheReason) {
  EXPECT_EQ(checkpoint_name_problem(""), "is empty");
  EXPECT_EQ(checkpoint_name_problem("a/b"), "holds a '/'");
  EXPECT_EQ(checkpoint_name_problem("a\nb"), "holds a control character");
  EXPECT_EQ(checkpoint_name_problem("a\x7F"), "holds a control character");
  EXPECT_EQ(checkpoint_name_problem("\xC2\x85"), "holds a control character");
  EXPECT_EQ(checkpoint_name_problem(std::string_view("a\0b", 3)), "holds a control character");
  EXPECT_EQ(checkpoint_name_problem("\xFF"), "is not UTF-8");
  EXPECT_EQ(checkpoint_name_problem(std::string(kMaxNameBytes + 1, 'x')),
            "is 256 bytes long; at most 255 are allowed");
}

TEST(Names, WordsOfTheToolAreNoCheckpointNames) {
  EXPECT_EQ(checkpoint_name_problem("latest"), "is a reserved word");
  EXPECT_EQ(checkpoint_name_problem("best:min:loss"), "begins with \"best:\", which is reserved");
  EXPECT_EQ(checkpoint_name_problem("id:"), "begins with \"id:\", which is reserved");
  EXPECT_EQ(checkpoint_name_problem("name:x"), "begins with \"name:\", which is reserved");
  EXPECT_EQ(checkpoint_name_problem("latest2"), std::nullopt);
  EXPECT_EQ(checkpoint_name_problem("best"), std::nullopt);
  EXPECT_EQ(checkpoint_name_problem("my id:3"), std::nullopt);
}

TEST(Names, RecoverableNamesMayBeWordsOfTheTool) {
  EXPECT_EQ(recoverable_name_problem("latest"), std::nullopt);
  EXPECT_EQ(recoverable_name_problem("id:3"), std::nullopt);
  EXPECT_EQ(recoverable_name_problem("a/b"), "holds a '/'");
  EXPECT_EQ(recoverable_name_problem(""), "is empty");
}

TEST(Names, KeysMayBeAnyUtf8UpToTheirLimit) {
  for (const std::string& key : {std::string(), std::string("a/b"), std::string("a\0b", 3),
                                 std::string(kMaxKeyBytes, 'x')}) {
    EXPECT_EQ(key_problem(key), std::nullopt);
  }
  EXPECT_EQ(key_problem(std::string(kMaxKeyBytes + 1, 'x')),
            "is 65536 bytes long; at most 65535 are allowed");
  EXPECT_EQ(key_problem("\xED\xA0\x80"), "is not UTF-8");
}

TEST(Names, ATakenCheckpointNameGetsANumberAndStaysAName) {
  std::set<std::string> taken{"a"};
  EXPECT_EQ(free_checkpoint_name("b", taken), "b");
  EXPECT_EQ(free_checkpoint_name("a", taken), "a+2");
  EXPECT_EQ(free_checkpoint_name("a", taken), "a+3");
  EXPECT_EQ(taken, (std::set<std::string>{"a", "a+2", "a+3", "b"}));

  const std::string longest = std::string(252, 'n') + "\u20AC";  // cut before its last character
  ASSERT_EQ(longest.size(), kMaxNameBytes);
  taken.insert(longest);
  const std::string cut = free_checkpoint_name(longest, taken);
  EXPECT_EQ(cut, std::string(252, 'n') + "+2");
  EXPECT_EQ(checkpoint_name_problem(cut), std::nullopt);
}

TEST(Names, ErrorsQuoteTheNameAndCarryTheCallersCode) {
  expect_error(ErrorCode::kInvalidArgument, "checkpoint name \"a/b\" holds a '/'",
               [] { validate_checkpoint_name("a/b"); });
  expect_error(ErrorCode::kDamaged, "recoverable name \"\" is empty",
               [] { validate_recoverable_name("", ErrorCode::kDamaged); });
  expect_error(ErrorCode::kInvalidArgument, "tensor key \"\\xff\" is not UTF-8",
               [] { validate_key("\xFF", "tensor key"); });
}

}  // namespace
}  // namespace cairn::format
