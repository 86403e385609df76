#include "base/text.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::base {
namespace {

using namespace std::string_view_literals;

TEST(Utf8, AcceptsTheFirstAndLastCharacterOfEachLength) {
  for (const std::string_view text :
       {""sv, "\0"sv, "\x7f"sv, "\xc2\x80"sv, "\xdf\xbf"sv, "\xe0\xa0\x80"sv, "\xed\x9f\xbf"sv,
        "\xee\x80\x80"sv, "\xef\xbf\xbf"sv, "\xf0\x90\x80\x80"sv, "\xf4\x8f\xbf\xbf"sv}) {
    EXPECT_TRUE(is_utf8(text)) << quoted(text);
  }
}

TEST(Utf8, RefusesOverlongForms) {
  for (const auto text : {"\xc0\x80"sv, "\xc1\xbf"sv, "\xe0\x9f\xbf"sv, "\xf0\x8f\xbf\xbf"sv}) {
    EXPECT_FALSE(is_utf8(text)) << quoted(text);
  }
}

TEST(Utf8, RefusesSurrogatesAndWhatLiesBeyondUnicode) {
  for (const auto text : {"\xed\xa0\x80"sv, "\xed\xbf\xbf"sv, "\xf4\x90\x80\x80"sv,
                          "\xf5\x80\x80\x80"sv, "\xfe"sv, "\xff"sv}) {
    EXPECT_FALSE(is_utf8(text)) << quoted(text);
  }
}

TEST(Utf8, RefusesWhatIsCutShortOrBeginsInTheMiddle) {
  for (const auto text :
       {"\x80"sv, "a\xc3"sv, "\xe2\x82"sv, "\xf0\x9f\x98"sv, "\xe2\x82 "sv, "\xc3\xc3\xa4"sv}) {
    EXPECT_FALSE(is_utf8(text)) << quoted(text);
  }
}

TEST(Utf8, FindsOneBadByteAnywhere) {
  std::string text(300, 'a');
  for (std::size_t i = 0; i < text.size(); i += 13) {
    text[i] = '\xff';
    EXPECT_FALSE(is_utf8(text)) << i;
    text[i] = 'a';
  }
  EXPECT_TRUE(is_utf8(text));
}

TEST(ControlCharacters, AreC0DeleteAndC1) {
  for (const auto text : {"\0"sv, "a\nb"sv, "\x1f"sv, "\x7f"sv, "\xc2\x80"sv, "a\xc2\x9f"sv}) {
    EXPECT_TRUE(has_control_characters(text)) << quoted(text);
  }
  for (const auto text : {""sv, " ~"sv, "\xc2\xa0"sv, "größe"sv, "\xf0\x9f\x98\x80"sv}) {
    EXPECT_FALSE(has_control_characters(text)) << quoted(text);
  }
}

TEST(Quoted, LeavesPlainTextReadable) {
  EXPECT_EQ(quoted("größe 1/2"), "\"größe 1/2\"");
}

TEST(Quoted, EscapesWhatWouldBreakALineOrATerminal) {
  EXPECT_EQ(quoted("a\n\t\r\"\\"), R"("a\n\t\r\"\\")");
  EXPECT_EQ(quoted("\x1b[31m\x7f\xc2\x85\0"sv), R"("\u001b[31m\u007f\u0085\u0000")");
}

TEST(Quoted, EscapesMarksThatTurnTextAround) {
  EXPECT_EQ(quoted("a\u202eb\u2066c\u2028"), R"("a\u202eb\u2066c\u2028")");
}

TEST(Quoted, ShowsInvalidBytesAsNumbers) {
  EXPECT_EQ(quoted("a\xff\xc3(b"), R"("a\xff\xc3(b")");
}

TEST(Quoted, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(quoted("abcdef", 3), "\"abc\"...");
  EXPECT_EQ(quoted("abc", 3), "\"abc\"");
  EXPECT_TRUE(is_utf8(quoted("ääääääää", 4)));
  EXPECT_LT(base::quoted(std::string(1 << 20, '\1')).size(), 140u);
}

}  // namespace
}  // namespace cairn::base
