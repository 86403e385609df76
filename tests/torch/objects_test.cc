// Generators, scalars, strings, tensors, epochs, archives and types that save themselves.
#include "support.h"

#include <cstdint>
#include <limits>
#include <map>
#include <unordered_map>
#include <vector>

// A type of someone else's, and types derived from it.
namespace elsewhere {
struct Clock {
  std::int64_t ticks = 0;
};
struct Alarm : Clock {
  bool rings = false;
};
struct Exact : Clock {
  std::int64_t nanoseconds = 0;
};
}  // namespace elsewhere

namespace cairn {
void save_state(const elsewhere::Clock& clock, StateWriter& writer) {
  writer.value("ticks", clock.ticks);
}
ApplyStep load_state(elsewhere::Clock& clock, StateReader& reader) {
  return [&clock, ticks = reader.value("ticks").as_int()] { clock.ticks = ticks; };
}
void save_state(const elsewhere::Exact& clock, StateWriter& writer) {
  writer.value("nanoseconds", clock.nanoseconds);
}
ApplyStep load_state(elsewhere::Exact& clock, StateReader& reader) {
  return [&clock, saved = reader.value("nanoseconds").as_int()] { clock.nanoseconds = saved; };
}
}  // namespace cairn

namespace cairn::testing {
namespace {

class Objects : public ::testing::Test {
 protected:
  SaveResult save(Recoverable object, SaveOptions options = {}) {
    return Checkpointer(dir_ / "store").add_recoverable("it", object).save_checkpoint(options);
  }
  LoadReport load(Recoverable object) {
    Checkpointer checkpointer(dir_ / "store");
    return checkpointer.add_recoverable("it", object).recover_if_possible().report;
  }
  std::string mismatch(Recoverable object) {
    const Error error = error_of([&] { load(object); });
    EXPECT_EQ(error.code(), ErrorCode::kMismatch) << error.what();
    return error.what();
  }

  ScratchDirectory dir_;
};

// ---- generators
// -------------------------------------------------------------------------------------

TEST_F(Objects, AGeneratorGoesOnWithTheSameNumbers) {
  at::Generator generator = at::detail::createCPUGenerator(7);
  torch::randn({3}, generator);  // an odd count leaves a cached normal behind
  save(generator);
  const at::Tensor expected = torch::randn({5}, generator);
  at::Generator other = at::detail::createCPUGenerator(8);
  load(other);
  EXPECT_TRUE(same_bits(torch::randn({5}, other), expected));
}

TEST_F(Objects, TheDefaultGeneratorIsTakenByConstReference) {
  torch::manual_seed(3);
  save(at::detail::getDefaultCPUGenerator());
  const at::Tensor expected = torch::randn({5});
  torch::manual_seed(4);
  load(at::detail::getDefaultCPUGenerator());
  EXPECT_TRUE(same_bits(torch::randn({5}), expected));
}

TEST_F(Objects, DefaultGeneratorsAreRegisteredByDevice) {
  Checkpointer checkpointer(dir_ / "store");
  checkpointer.add_default_generators("rng");
  ASSERT_EQ(checkpointer.recoverables().size(),
            1 + static_cast<std::size_t>(torch::cuda::device_count()));
  EXPECT_EQ(checkpointer.recoverables()[0], "rng.cpu");
  torch::manual_seed(3);
  checkpointer.save_checkpoint();
  const at::Tensor expected = torch::randn({5});
  torch::manual_seed(4);
  checkpointer.recover_if_possible();
  EXPECT_TRUE(same_bits(torch::randn({5}), expected));
}

TEST_F(Objects, AnUndefinedGeneratorIsRefused) {
  at::Generator undefined;
  EXPECT_EQ(error_of([&] { save(undefined); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(Objects, AGeneratorThatDoesNotTakeTheStateIsAMismatch) {
  // What no generator saves: a state of the wrong size.
  struct Fake {
    void save_state(StateWriter& writer) const {
      writer.value("type", "generator");
      writer.value("device", "cpu");
      writer.tensor("state", torch::zeros({10}, torch::kUInt8));
    }
    ApplyStep load_state(StateReader&) { return {}; }
  } fake;
  save(fake);
  at::Generator generator = at::detail::createCPUGenerator(7);
  const at::Tensor before = generator.get_state();
  EXPECT_TRUE(mentions(mismatch(generator), {"\"it\"", "does not take its saved state"}));
  EXPECT_TRUE(same_bits(generator.get_state(), before));
}

// ---- values
// -------------------------------------------------------------------------------------------

template <class T>
T round_trip(Objects&, const std::filesystem::path& store, T value, T other) {
  Checkpointer(store).add_recoverable("it", value).save_checkpoint();
  Checkpointer(store).add_recoverable("it", other).recover_if_possible();
  return other;
}

TEST_F(Objects, ValuesComeBackAsTheyWere) {
  const auto store = dir_ / "store";
  EXPECT_EQ(round_trip(*this, store, true, false), true);
  EXPECT_EQ(round_trip<std::int64_t>(*this, store, std::int64_t{-1} << 62, 0),
            std::int64_t{-1} << 62);
  EXPECT_EQ(round_trip(*this, store, 41, 0), 41);
  EXPECT_EQ(round_trip<std::size_t>(*this, store, 42, 0), 42U);
  EXPECT_EQ(round_trip(*this, store, 0.1, 0.0), 0.1);
  EXPECT_EQ(round_trip(*this, store, 0.1F, 0.0F), 0.1F);
  EXPECT_EQ(round_trip(*this, store, std::numeric_limits<double>::infinity(), 0.0),
            std::numeric_limits<double>::infinity());
  EXPECT_EQ(round_trip<std::string>(*this, store, "naïve\n", ""), "naïve\n");
}

TEST_F(Objects, AValueOfAnotherTypeOrOutOfRangeIsAMismatch) {
  std::int64_t big = 1 << 20;
  save(big);
  std::string text = "as before";
  std::int16_t small = 3;
  EXPECT_TRUE(mentions(mismatch(text), {"\"it\""}));
  EXPECT_TRUE(mentions(mismatch(small), {"\"it\"", "1048576", "out of range"}));
  EXPECT_EQ(text, "as before");
  EXPECT_EQ(small, 3);
}

TEST_F(Objects, ATensorIsWrittenInPlaceWhateverTheVariableHolds) {
  at::Tensor best = torch::arange(6).reshape({2, 3});
  save(best);
  at::Tensor other = torch::zeros({2, 3}, torch::kLong);
  const at::Tensor alias = other;
  load(other);
  EXPECT_TRUE(same_bits(alias, best));
  at::Tensor undefined;
  load(undefined);
  EXPECT_TRUE(same_bits(undefined, best));
  at::Tensor wrong = torch::zeros({3, 2});
  EXPECT_TRUE(mentions(mismatch(wrong), {"i64 [2, 3]", "f32 [3, 2]"}));
}

TEST_F(Objects, AnUndefinedTensorStaysUndefined) {
  at::Tensor undefined;
  save(undefined);
  at::Tensor other;
  load(other);
  EXPECT_FALSE(other.defined());
  at::Tensor defined = torch::zeros({2});
  EXPECT_TRUE(mentions(mismatch(defined), {"saved undefined", "f32 [2]"}));
}

// ---- epochs
// ---------------------------------------------------------------------------------------------

std::vector<std::int64_t> rest_of(EpochCounter& counter) {
  std::vector<std::int64_t> epochs;
  for (const auto epoch : counter) epochs.push_back(epoch);
  return epochs;
}

TEST_F(Objects, EpochsCountFromOneToTheLimit) {
  EpochCounter counter(3);
  EXPECT_EQ(rest_of(counter), (std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(rest_of(counter), std::vector<std::int64_t>{});
  EXPECT_EQ(error_of([] { EpochCounter(-1); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(Objects, AFinishedEpochDoesNotRunAgain) {
  EpochCounter counter(4);
  for (const auto epoch : counter) {
    if (epoch == 2) break;
  }
  save(counter);
  EpochCounter resumed(4);
  load(resumed);
  EXPECT_EQ(rest_of(resumed), (std::vector<std::int64_t>{3, 4}));
}

TEST_F(Objects, AnUnfinishedEpochRunsAgain) {
  EpochCounter counter(4);
  for (const auto epoch : counter) {
    if (epoch == 2) break;
  }
  save(counter, {.end_of_epoch = false});
  EpochCounter resumed(4);
  load(resumed);
  EXPECT_EQ(rest_of(resumed), (std::vector<std::int64_t>{2, 3, 4}));
}

TEST_F(Objects, AJobSavedBeforeItsFirstEpochStartsWithIt) {
  EpochCounter counter(2);
  save(counter, {.end_of_epoch = false});
  EpochCounter resumed(2);
  load(resumed);
  EXPECT_EQ(rest_of(resumed), (std::vector<std::int64_t>{1, 2}));
}

TEST_F(Objects, TheLimitOfEpochsIsNotSaved) {
  EpochCounter counter(1);
  rest_of(counter);
  save(counter);
  EpochCounter longer(3);
  load(longer);
  EXPECT_EQ(rest_of(longer), (std::vector<std::int64_t>{2, 3}));
}

// ---- types that save themselves
// -------------------------------------------------------------------------

struct Average {
  at::Tensor sum = torch::zeros({3});
  std::int64_t count = 0;

  void save_state(StateWriter& writer) const {
    writer.tensor("sum", sum);
    writer.value("count", count);
    writer.value("extra", writer.name() + (writer.end_of_epoch() ? " at the end" : " within"));
  }
  ApplyStep load_state(const StateReader& reader) {
    reader.read_into("sum", sum);
    return [this, saved = reader.value("count").as_int()] { count = saved; };
  }
};

TEST_F(Objects, ATypeSavesAndLoadsItself) {
  Average average{torch::randn({3}), 5};
  save(average);
  Average other;
  const LoadReport report = load(other);
  EXPECT_TRUE(same_bits(other.sum, average.sum));
  EXPECT_EQ(other.count, 5);
  EXPECT_EQ(report.ignored, std::vector<std::string>{"it/extra"});
}

TEST_F(Objects, ATypeOfOneIsToldWhetherTheEpochIsOver) {
  struct Told {
    std::string when;
    void save_state(StateWriter& writer) const { writer.value("is_over", writer.end_of_epoch()); }
    ApplyStep load_state(StateReader& reader) {
      EXPECT_EQ(reader.value("is_over"), MetaValue(reader.end_of_epoch()));
      return [this, over = reader.end_of_epoch()] { when = over ? "over" : "within"; };
    }
  } told;
  save(told, {.end_of_epoch = false});
  load(told);
  EXPECT_EQ(told.when, "within");
  save(told);
  load(told);
  EXPECT_EQ(told.when, "over");
}

TEST_F(Objects, ATypeMayReadATensorBeforeItDecides) {
  struct Table {
    at::Tensor rows = torch::ones({2});
    void save_state(StateWriter& writer) const { writer.tensor("rows", rows); }
    ApplyStep load_state(StateReader& reader) {
      at::Tensor saved = reader.tensor("rows");
      if (saved.sum().item<float>() != 2) throw Error(ErrorCode::kMismatch, "rows do not add up");
      return [this, saved] { rows = saved; };
    }
  } table;
  save(table);
  load(table);
  table.rows = torch::zeros({4});
  save(table);
  EXPECT_TRUE(mentions(mismatch(table), {"\"it\": rows do not add up"}));
}

TEST_F(Objects, WhatATypeMissesIsAMismatch) {
  std::int64_t number = 3;
  save(number);
  Average average;
  EXPECT_TRUE(mentions(mismatch(average), {"tensor \"sum\"", "value \"count\"", "2 differences"}));
}

TEST_F(Objects, AnyObjectIsSavedByHooks) {
  struct Opaque {
    int level = 0;
  } opaque{4};
  const auto hooks = [](Opaque& object) {
    return RecoverableOptions{
        .custom_load_hook = [&object](StateReader& reader) -> ApplyStep {
          return [&object, level = static_cast<int>(reader.value("level").as_int())] {
            object.level = level;
          };
        },
        .custom_save_hook =
            [&object](StateWriter& writer) { writer.value("level", object.level); }};
  };
  Checkpointer(dir_ / "store").add_recoverable("it", opaque, hooks(opaque)).save_checkpoint();
  Opaque other;
  Checkpointer(dir_ / "store").add_recoverable("it", other, hooks(other)).recover_if_possible();
  EXPECT_EQ(other.level, 4);

  const Error error = error_of([&] { save(opaque); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(mentions(error.what(), {"Opaque", ".custom_save_hook", "save_state"}));
  RecoverableOptions one = hooks(opaque);
  one.custom_load_hook = {};
  Checkpointer checkpointer(dir_ / "store");
  EXPECT_TRUE(mentions(error_of([&] { checkpointer.add_recoverable("it", opaque, one); }).what(),
                       {"one hook"}));
}

TEST_F(Objects, ATypeThatIsNotYoursIsSavedByFunctionsBesideItAndPassesThemOn) {
  elsewhere::Clock clock{5}, other_clock;
  save(clock);
  load(other_clock);
  EXPECT_EQ(other_clock.ticks, 5);
  elsewhere::Alarm alarm, other_alarm;
  alarm.ticks = 6;
  save(alarm);
  load(other_alarm);
  EXPECT_EQ(other_alarm.ticks, 6);
  elsewhere::Exact exact, other_exact;
  exact.ticks = 1;
  exact.nanoseconds = 7;
  save(exact);
  load(other_exact);  // Its own functions, not those of its base.
  EXPECT_EQ(other_exact.nanoseconds, 7);
  EXPECT_EQ(other_exact.ticks, 0);
}

TEST_F(Objects, AModuleThatSavesItselfDoesSoAsReferenceAsHolderAndAsSharedPointer) {
  struct Net : torch::nn::Module {
    at::Tensor weight = register_parameter("weight", torch::zeros({2}));
    std::int64_t version = 0;
    void save_state(StateWriter& writer) const { writer.value("version", version); }
    ApplyStep load_state(StateReader& reader) {
      return [this, saved = reader.value("version").as_int()] { version = saved; };
    }
  };
  Net saved;
  saved.version = 4;
  save(saved);
  Net reference;
  load(reference);
  EXPECT_EQ(reference.version, 4);
  const auto shared = std::make_shared<Net>();
  load(shared);
  EXPECT_EQ(shared->version, 4);
  torch::nn::ModuleHolder<Net> holder(std::make_shared<Net>());
  load(holder);
  EXPECT_EQ(holder->version, 4);
}

// ---- containers of tensors
// ---------------------------------------------------------------------------

using Tensors = std::vector<at::Tensor>;

TEST_F(Objects, AVectorOfTensorsIsWrittenInPlaceOrTakesAllWhenEmpty) {
  Tensors saved{torch::randn({3}), at::Tensor(), torch::randn({2, 2})};
  save(saved);
  Tensors other{torch::zeros({3}), at::Tensor(), torch::zeros({2, 2})};
  const at::Tensor alias = other[0];
  load(other);
  EXPECT_TRUE(same_bits(alias, saved[0]));
  EXPECT_FALSE(other[1].defined());
  EXPECT_TRUE(same_bits(other[2], saved[2]));
  Tensors empty;
  load(empty);
  ASSERT_EQ(empty.size(), 3U);
  EXPECT_TRUE(same_bits(empty[0], saved[0]) && !empty[1].defined());
  EXPECT_TRUE(same_bits(empty[2], saved[2]));
}

TEST_F(Objects, AMapOfTensorsHasItsKeysAsNames) {
  std::map<std::string, at::Tensor> saved{{"fc.weight", torch::randn({3})}, {"b", torch::ones(2)}};
  save(saved);
  Checkpointer finder(dir_ / "store", {.read_only = true});
  EXPECT_TRUE(finder.open(*finder.find_checkpoint()).find_tensor("it", "fc.weight"));
  std::map<std::string, at::Tensor> other;
  load(other);
  EXPECT_TRUE(same_bits(other.at("fc.weight"), saved.at("fc.weight")));
  std::unordered_map<std::string, at::Tensor> unordered;
  load(unordered);
  EXPECT_TRUE(same_bits(unordered.at("b"), saved.at("b")));
}

TEST_F(Objects, AnOrderedDictionaryKeepsItsOrder) {
  torch::OrderedDict<std::string, at::Tensor> saved, other;
  saved.insert("z", torch::randn({3}));
  saved.insert("a", torch::randn({2}));
  save(saved);
  load(other);
  EXPECT_EQ(other.keys(), (std::vector<std::string>{"z", "a"}));
  EXPECT_TRUE(same_bits(other["z"], saved["z"]));
  other["a"].zero_();
  load(other);
  EXPECT_TRUE(same_bits(other["a"], saved["a"]));
}

TEST_F(Objects, ContainersNestAndTheirNamesStayApart) {
  std::map<std::string, std::map<std::string, Tensors>> saved{
      {"a.b", {{"c", {torch::randn({1})}}, {"", {torch::randn({2})}}}},
      {"a", {{"b.c", {torch::randn({3}), torch::randn({4})}}, {"none", {}}}}};
  save(saved);
  std::map<std::string, std::map<std::string, Tensors>> other;
  load(other);
  ASSERT_EQ(other.size(), 2U);
  EXPECT_TRUE(same_bits(other["a.b"]["c"], saved["a.b"]["c"]));
  EXPECT_TRUE(same_bits(other["a.b"][""], saved["a.b"][""]));
  EXPECT_TRUE(same_bits(other["a"]["b.c"], saved["a"]["b.c"]));
  EXPECT_TRUE(other["a"].at("none").empty());
}

TEST_F(Objects, AContainerThatDiffersIsAMismatchAndStaysAsItWas) {
  std::map<std::string, at::Tensor> saved{{"a", torch::ones({2})}, {"b", torch::ones({3})}};
  save(saved);
  std::map<std::string, at::Tensor> other{{"a", torch::zeros({4})}, {"c", torch::zeros({1})}};
  EXPECT_TRUE(mentions(mismatch(other), {"\"a\" was saved as f32 [2], here it is f32 [4]",
                                         "without \"c\"", "with \"b\""}));
  EXPECT_TRUE(same_bits(other.at("a"), torch::zeros({4})));
  EXPECT_EQ(other.size(), 2U);
  Tensors list;
  EXPECT_TRUE(mentions(mismatch(list), {"\"it\""}));
  EXPECT_TRUE(list.empty());
}

// ---- archives
// -------------------------------------------------------------------------------------------

TEST_F(Objects, ARandomSamplerGoesOnInTheMiddleOfAnEpoch) {
  torch::data::samplers::RandomSampler sampler(20);
  sampler.reset();
  sampler.next(7);
  save(sampler);
  torch::data::samplers::RandomSampler resumed(20);
  load(resumed);
  EXPECT_EQ(resumed.index(), 7U);
  EXPECT_EQ(*resumed.next(13), *sampler.next(13));
  EXPECT_FALSE(resumed.next(1));
}

TEST_F(Objects, OtherSamplersGoOnToo) {
  torch::data::samplers::SequentialSampler sequential(10), sequential_again(10);
  sequential.next(4);
  save(sequential);
  load(sequential_again);
  EXPECT_EQ(*sequential_again.next(3), *sequential.next(3));
  torch::data::samplers::DistributedRandomSampler distributed(10, 2, 1),
      distributed_again(10, 2, 1);
  distributed.set_epoch(2);
  distributed.reset();
  distributed.next(2);
  save(distributed);
  load(distributed_again);
  EXPECT_EQ(*distributed_again.next(3), *distributed.next(3));
}

TEST_F(Objects, ASamplerOfAnotherSizeIsAMismatch) {
  torch::data::samplers::RandomSampler sampler(20), larger(21);
  save(sampler);
  const auto before = larger.index();
  EXPECT_TRUE(mentions(mismatch(larger), {"\"indices\"", "i64 [20]", "i64 [21]"}));
  EXPECT_EQ(larger.index(), before);
}

// An archive with everything that a store holds.
struct Tree {
  at::Tensor parameter = torch::zeros({2}), buffer = torch::zeros({3});
  c10::IValue flag = false, number = 0, rate = 0.0, text = std::string(), nothing = c10::IValue();
  std::vector<std::int64_t> numbers;
  std::vector<at::Tensor> tensors;
  bool refuse = false;

  void save(torch::serialize::OutputArchive& archive) const {
    archive.write("parameter", parameter);
    archive.write("buffer", buffer, /*is_buffer=*/true);
    archive.write("undefined", at::Tensor(), true);
    archive.write("flag", flag);
    archive.write("number", number);
    archive.write("rate", rate);
    archive.write("nothing", nothing);
    torch::serialize::OutputArchive nested(archive.compilation_unit());
    nested.write("a.b%", text);
    torch::serialize::OutputArchive deeper(archive.compilation_unit());
    deeper.write("numbers", c10::IValue(numbers));
    deeper.write("tensors", c10::IValue(tensors));
    nested.write("deeper", deeper);
    archive.write("nested", nested);
  }
  void load(torch::serialize::InputArchive& archive) {
    archive.read("parameter", parameter);
    archive.read("buffer", buffer, true);
    archive.read("flag", flag);
    archive.read("number", number);
    archive.read("rate", rate);
    archive.read("nothing", nothing);
    torch::serialize::InputArchive nested, deeper;
    archive.read("nested", nested);
    nested.read("a.b%", text);
    nested.read("deeper", deeper);
    c10::IValue list;
    deeper.read("numbers", list);
    numbers = list.toIntVector();
    deeper.read("tensors", list);
    tensors = list.toTensorVector();
    if (refuse && flag.toBool()) throw std::runtime_error("not today");
  }
};

Tree full_tree() {
  Tree tree;
  tree.parameter = torch::randn({2});
  tree.buffer = torch::randn({3});
  tree.flag = true;
  tree.number = 17;
  tree.rate = 0.25;
  tree.text = std::string("text");
  tree.numbers = {1, 2, 3};
  tree.tensors = {torch::randn({2}), at::Tensor(), torch::randn({4})};
  return tree;
}

TEST_F(Objects, AnArchiveIsStoredAsItsTree) {
  Tree tree = full_tree();
  save(tree);
  Tree other;
  load(other);
  EXPECT_TRUE(same_bits(other.parameter, tree.parameter));
  EXPECT_TRUE(same_bits(other.buffer, tree.buffer));
  EXPECT_TRUE(other.flag.toBool() && other.number.toInt() == 17 && other.rate.toDouble() == 0.25);
  EXPECT_EQ(other.text.toStringRef(), "text");
  EXPECT_TRUE(other.nothing.isNone());
  EXPECT_EQ(other.numbers, tree.numbers);
  ASSERT_EQ(other.tensors.size(), 3U);
  EXPECT_TRUE(same_bits(other.tensors[2], tree.tensors[2]) && !other.tensors[1].defined());

  Checkpointer finder(dir_ / "store", {.read_only = true});
  const Checkpoint checkpoint = finder.open(finder.list_checkpoints().front());
  EXPECT_TRUE(checkpoint.find_tensor("it", "nested.deeper.tensors.2"));
  EXPECT_TRUE(checkpoint.values("it").at("entries").as_map().contains("nested.a%2Eb%25"));
}

TEST_F(Objects, AnArchiveThatIsRefusedIsTakenBack) {
  Tree saved = full_tree();
  save(saved);
  Tree other;
  other.refuse = true;
  other.parameter = torch::ones({2});
  other.numbers = {9};
  EXPECT_TRUE(mentions(mismatch(other), {"\"it\" refused its saved state", "not today"}));
  EXPECT_TRUE(same_bits(other.parameter, torch::ones({2})));
  EXPECT_FALSE(other.flag.toBool());
  EXPECT_EQ(other.numbers, std::vector<std::int64_t>{9});
}

TEST_F(Objects, AnEmptyArchiveIsAnError) {
  struct Empty {
    void save(torch::serialize::OutputArchive&) const {}
    void load(torch::serialize::InputArchive&) {}
  } empty;
  const Error error = error_of([&] { save(empty); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(mentions(error.what(), {"\"it\"", "Empty", "writes nothing"}));
}

TEST_F(Objects, AnArchiveWithWhatNoStoreHoldsIsAnError) {
  struct Odd {
    void save(torch::serialize::OutputArchive& archive) const {
      archive.write("device", c10::IValue(c10::Device("cpu")));
    }
    void load(torch::serialize::InputArchive&) {}
  } odd;
  EXPECT_TRUE(mentions(error_of([&] { save(odd); }).what(), {"it/device", "Device"}));
}

}  // namespace
}  // namespace cairn::testing
