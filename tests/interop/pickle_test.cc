#include "interop/pickle.h"

#include "support/states.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <string>

namespace cairn::interop {
namespace {

using Kind = PickledValue::Kind;

Pickle run(const std::string& text) {
  return run_pickle(std::as_bytes(std::span(text)));
}

Error error_of(const std::string& text) {
  return testing::error_of([&] { run(text); });
}

TEST(PickleMachine, BuildsPlainValues) {
  // pickle.dumps({"a": [1, -2, 300, 2.5, None, True]}, 2)
  static constexpr char kText[] =
      "\x80\x02}q\x00X\x01\x00\x00\x00"
      "aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM\x2c\x01G\x40\x04\x00\x00\x00\x00\x00\x00N\x88"
      "es.";
  const Pickle pickle = run(std::string(kText, sizeof(kText) - 1));
  ASSERT_EQ(pickle.root->kind, Kind::kDict);
  ASSERT_EQ(pickle.root->items.size(), 2U);
  EXPECT_EQ(pickle.root->items[0]->text, "a");
  const auto& list = pickle.root->items[1]->items;
  ASSERT_EQ(list.size(), 6U);
  EXPECT_EQ(list[0]->integer, 1);
  EXPECT_EQ(list[1]->integer, -2);
  EXPECT_EQ(list[2]->integer, 300);
  EXPECT_EQ(list[3]->number, 2.5);
  EXPECT_EQ(list[4]->kind, Kind::kNone);
  EXPECT_EQ(list[5]->kind, Kind::kBool);
}

TEST(PickleMachine, TellsWhereThePickleEnds) {
  EXPECT_EQ(run("K\x07.and more").bytes, 3U);
}

TEST(PickleMachine, RefusesEveryNameThatItDoesNotKnow) {
  for (const char* name : {"os\nsystem", "posix\nsystem", "builtins\neval", "builtins\nexec",
                           "subprocess\nPopen", "torch\nload", "torch.hub\nload",
                           "torch._utils\n_rebuild_sparse_tensor", "collections\ndefaultdict"}) {
    std::string dotted = name;
    dotted[dotted.find('\n')] = '.';
    const Error error = error_of("c" + std::string(name) + "\n.");
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << name;
    EXPECT_NE(std::string(error.what()).find(dotted), std::string::npos) << error.what();
  }
}

TEST(PickleMachine, RefusesInstructionsThatRunCode) {
  for (const char instruction : {'o', 'P', '\x82', '\x92'}) {  // OBJ PERSID EXT1 NEWOBJ_EX
    EXPECT_EQ(error_of(std::string("(") + instruction + ".").code(), ErrorCode::kInvalidArgument);
  }
}

TEST(PickleMachine, NamesWhatAnOldPickleWouldCall) {
  EXPECT_NE(std::string(error_of("(iposix\nsystem\n.").what()).find("\"posix.system\""),
            std::string::npos);
}

TEST(PickleMachine, RefusesNamesThatItKnowsWhereTheyMakeNoSense) {
  // torch.FloatStorage is no function, and attributes are for dicts alone.
  EXPECT_EQ(error_of("ctorch\nFloatStorage\n)R.").code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of("]}b.").code(), ErrorCode::kInvalidArgument);
}

TEST(PickleMachine, SaysWhatIsMalformed) {
  for (const std::string& text :
       {std::string(""), std::string("."), std::string("K"), std::string("X\xff\xff\xff\xff"),
        std::string("\x80\x63."), std::string("h\x05."), std::string("e."), std::string("}]s."),
        std::string("(K\x01}u."), std::string("K\x01K\x02R."), std::string("Q."),
        std::string("cno end")}) {
    EXPECT_EQ(error_of(text).code(), ErrorCode::kDamaged) << ::testing::PrintToString(text);
  }
}

TEST(PickleMachine, BearsListsThatContainThemselves) {
  const Pickle pickle =
      run("]q\x01h\x01"
          "a.");
  EXPECT_EQ(pickle.root->items.at(0), pickle.root);
}

TEST(PickleMachine, MemoryFollowsTheInput) {
  // A million references to one value, and a million small numbers: each a pointer.
  std::string text = "(";
  for (int i = 0; i < 1'000'000; ++i) text += "NK\x07";
  text += "l.";
  const Pickle pickle = run(text);
  EXPECT_EQ(pickle.root->items.size(), 2'000'000U);
  EXPECT_LT(pickle.values.size(), 1000U);
}

// A few bytes that ask for a copy of what was made before, over and over.
TEST(PickleMachine, RefusesCopiesWithoutEnd) {
  const auto refuses = [](const std::string& begin, const std::string& again) {
    std::string pickle = begin;
    for (int i = 0; i < 10'000; ++i) pickle += again;
    const Error error = error_of(pickle + ".");
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("copies"), std::string::npos) << error.what();
  };
  std::string pairs = "(";
  for (int i = 0; i < 10'000; ++i) pairs += "NN\x86";
  refuses("ccollections\nOrderedDict\nq\x01" + pairs + "l\x85q\x02", "h\x01h\x02R");
  const std::string text = "T" + std::string("\x00\x00\x01\x00", 4) + std::string(1 << 16, 'x');
  refuses("c_codecs\nencode\nq\x01" + text + "U\x06latin1\x86q\x02", "h\x01h\x02R");
  refuses("(U\x07storagectorch\nFloatStorage\n" + text + "U\x03" + "cpuK\x01tq\x01", "h\x01Q");
}

TEST(PickleMachine, RefusesATensorOfManyDimensions) {
  std::string shape = "(";
  for (int i = 0; i < 65; ++i) shape += "K\x01";
  shape += "t";
  const std::string storage =
      "(U\x07storagectorch\nFloatStorage\nU\x01"
      "0U\x03"
      "cpuK\x01tQ";
  const Error error = error_of("ctorch._utils\n_rebuild_tensor_v2\n(" + storage +
                               std::string("K\0", 2) + shape + shape + "tR.");
  EXPECT_NE(std::string(error.what()).find("64 dimensions"), std::string::npos) << error.what();
}

}  // namespace
}  // namespace cairn::interop
