// The checkpointer as a whole: all or nothing, recovery, finding and keeping.
#include "support.h"

#include <cairn/store.h>

#include <fstream>
#include <random>
#include <stdexcept>
#include <utility>

namespace cairn::testing {
namespace {

// Objects of every kind, with values that follow from a seed.
struct Job {
  explicit Job(int seed)
      : net(make_net(static_cast<std::uint64_t>(seed))),
        adam(net->parameters(), torch::optim::AdamOptions(0.01 * seed)),
        scheduler(adam, 10),
        rng(at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed))),
        sampler(12),
        steps(seed) {
    train_step(net, adam, seed);
    sampler.next(static_cast<std::size_t>(seed));
  }

  void register_in(Checkpointer& checkpointer) {
    checkpointer.add_recoverable("model", net)
        .add_recoverable("optimizer", adam)
        .add_recoverable("scheduler", scheduler)
        .add_recoverable("rng", rng)
        .add_recoverable("sampler", sampler)
        .add_recoverable("steps", steps);
  }

  // Everything that a load could change, as bits.
  std::vector<at::Tensor> bits() {
    std::vector<at::Tensor> all = bits_of(*net);
    all.push_back(rng.get_state().clone());
    all.push_back(torch::tensor(adam.param_groups()[0].options().get_lr()));
    for (const at::Tensor& parameter : net->parameters()) {
      for (const auto& [key, state] : adam.state()) {
        const auto& adam_state = static_cast<const torch::optim::AdamParamState&>(*state);
        if (adam_state.exp_avg().sizes() == parameter.sizes()) {
          all.push_back(adam_state.exp_avg().clone());
        }
      }
    }
    all.push_back(torch::tensor(static_cast<std::int64_t>(sampler.index())));
    all.push_back(torch::tensor(steps));
    return all;
  }

  torch::nn::Sequential net;
  torch::optim::Adam adam;
  torch::optim::StepLR scheduler;
  at::Generator rng;
  torch::data::samplers::RandomSampler sampler;
  std::int64_t steps;
};

class Checkpoints : public ::testing::Test {
 protected:
  std::filesystem::path store() const { return dir_ / "store"; }

  // Saves one number as a checkpoint and keeps the checkpointer's objects.
  void save_number(std::int64_t number, SaveOptions options = {}) {
    Checkpointer(store()).add_recoverable("number", number).save_checkpoint(options);
  }
  std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const CheckpointInfo& info :
         Checkpointer(store(), {.read_only = true}).list_checkpoints()) {
      names.push_back(info.name);
    }
    return names;
  }
  // Flips a byte of the first tensor of a recoverable.
  void damage(const std::string& checkpoint, const std::string& recoverable) {
    std::uint64_t offset = 0;
    {
      const Store opened(store(), {.read_only = true});
      const Checkpoint handle = opened.open(opened.find_by_name(checkpoint)->id);
      const std::string key(handle.tensors(recoverable).front().key);
      offset = handle.chunks(*handle.find_tensor(recoverable, key)).front().pack_offset;
    }
    flip_byte(store() / "pack", offset);
  }

  ScratchDirectory dir_;
};

// ---- all or nothing
// ---------------------------------------------------------------------------------

TEST_F(Checkpoints, BringBackEverythingInEveryMode) {
  Job saved(1);
  {
    Checkpointer checkpointer(store());
    saved.register_in(checkpointer);
    checkpointer.save_checkpoint();
  }
  for (const LoadMode mode : {LoadMode::kVerifyFirst, LoadMode::kStaged, LoadMode::kSinglePass}) {
    Job other(2);
    Checkpointer checkpointer(store());
    other.register_in(checkpointer);
    const LoadReport report =
        checkpointer.load_checkpoint(checkpointer.list_checkpoints().front(), {.mode = mode});
    EXPECT_EQ(report.loaded, (std::vector<std::string>{"model", "optimizer", "rng", "sampler",
                                                       "scheduler", "steps"}));
    EXPECT_TRUE(same_bits(bits_of(*other.net), bits_of(*saved.net)));
    EXPECT_TRUE(same_bits(other.rng.get_state(), saved.rng.get_state()));
    EXPECT_EQ(other.sampler.index(), 1U);
    EXPECT_EQ(other.steps, 1);
  }
}

// Everything there is to know of a job: what its objects would save, byte for byte and value for
// value, and what it can see itself.
struct Snapshot {
  explicit Snapshot(Job& job) : bits(job.bits()) {
    const ScratchDirectory dir;
    Checkpointer checkpointer(dir / "store");
    job.register_in(checkpointer);
    checkpointer.save_checkpoint();
    const Checkpoint saved = checkpointer.open(*checkpointer.find_checkpoint());
    bytes = contents(saved);
    for (const std::string& name : checkpointer.recoverables()) values[name] = saved.values(name);
  }
  friend bool operator==(const Snapshot& a, const Snapshot& b) {
    return same_bits(a.bits, b.bits) && a.bytes == b.bytes && a.values == b.values;
  }

  std::vector<at::Tensor> bits;
  Contents bytes;
  std::map<std::string, MetaValue::Map> values;
};

// Ways in which the last object of a job refuses.
struct RefusesByMismatch {
  void save_state(StateWriter& writer) const { writer.value("x", 1); }
  ApplyStep load_state(StateReader&) { throw Error(ErrorCode::kMismatch, "I will not"); }
};
struct RefusesByException {
  void save_state(StateWriter& writer) const { writer.value("x", 1); }
  ApplyStep load_state(StateReader&) { throw std::runtime_error("I will not"); }
};
// Only when all other archives have been applied.
struct RefusesInItsArchive {
  void save(torch::serialize::OutputArchive& archive) const {
    archive.write("x", c10::IValue(std::int64_t{1}));
  }
  void load(torch::serialize::InputArchive&) {
    if (!std::exchange(refused, true)) throw std::runtime_error("I will not");
  }
  bool refused = false;  // Then comes the undo.
};

template <class Refuses>
void change_nothing(const std::filesystem::path& store) {
  {
    Job saved(1);
    Refuses refuses;
    Checkpointer checkpointer(store);
    saved.register_in(checkpointer);
    checkpointer.add_recoverable("zz", refuses).save_checkpoint();
  }
  for (const LoadMode mode : {LoadMode::kVerifyFirst, LoadMode::kStaged, LoadMode::kSinglePass}) {
    Job other(2);
    Refuses refuses;
    Checkpointer checkpointer(store);
    other.register_in(checkpointer);
    checkpointer.add_recoverable("zz", refuses);
    const Snapshot before(other);
    const auto newest = checkpointer.list_checkpoints().front();
    std::string said;
    try {
      checkpointer.load_checkpoint(newest, {.mode = mode});
    } catch (const std::exception& error) {
      said = error.what();
    }
    EXPECT_TRUE(mentions(said, {"I will not"}));
    EXPECT_TRUE(Snapshot(other) == before);
  }
}

TEST_F(Checkpoints, ChangeNothingWhenTheLastObjectRefuses) {
  change_nothing<RefusesByMismatch>(store());
}

TEST_F(Checkpoints, ChangeNothingWhenTheLastObjectThrows) {
  change_nothing<RefusesByException>(store());
}

TEST_F(Checkpoints, ChangeNothingWhenTheLastArchiveRefuses) {
  change_nothing<RefusesInItsArchive>(store());
}

TEST_F(Checkpoints, ChangeNothingWhenTheLastTensorIsDamaged) {
  at::Tensor last = torch::arange(1 << 19, torch::kFloat);  // Two chunks of its own.
  {
    Job saved(1);
    Checkpointer checkpointer(store());
    saved.register_in(checkpointer);
    checkpointer.add_recoverable("zz", last).save_checkpoint();
  }
  std::uint64_t offset = 0;
  {
    const Checkpointer finder(store(), {.read_only = true});
    const Checkpoint checkpoint = finder.open(*finder.find_checkpoint());
    const auto tensor = checkpoint.find_tensor("zz", "value").value();
    ASSERT_EQ(tensor, checkpoint.tensors().size() - 1);
    offset = checkpoint.chunks(tensor).back().pack_offset;
  }
  flip_byte(store() / "pack", offset);
  for (const LoadMode mode : {LoadMode::kVerifyFirst, LoadMode::kStaged}) {
    Job other(2);
    at::Tensor own = torch::zeros({1 << 19});
    Checkpointer checkpointer(store(), {.read_only = true});
    other.register_in(checkpointer);
    checkpointer.add_recoverable("zz", own);
    const Snapshot before(other);
    const auto newest = checkpointer.list_checkpoints().front();
    const Error error = error_of([&] { checkpointer.load_checkpoint(newest, {.mode = mode}); });
    EXPECT_EQ(error.code(), ErrorCode::kDamaged);
    EXPECT_TRUE(mentions(error.what(), {"zz/value"}));
    EXPECT_TRUE(Snapshot(other) == before);
    EXPECT_FALSE(own.any().item<bool>());
  }
}

TEST_F(Checkpoints, ListEveryDifferenceOfEveryObject) {
  Job saved(1);
  std::int64_t count = 0;
  {
    Checkpointer checkpointer(store());
    saved.register_in(checkpointer);
    checkpointer.save_checkpoint();
  }
  torch::nn::Sequential net(torch::nn::Linear(4, 9), torch::nn::Tanh(), torch::nn::Linear(9, 1));
  torch::optim::SGD sgd(net->parameters(), 0.1);
  torch::data::samplers::RandomSampler sampler(13);
  std::string steps;
  const auto before = bits_of(*net);
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("model", net)
      .add_recoverable("optimizer", sgd)
      .add_recoverable("sampler", sampler)
      .add_recoverable("steps", steps)
      .add_recoverable("absent", count);
  const Error error = error_of([&] { checkpointer.recover_if_possible(); });
  EXPECT_EQ(error.code(), ErrorCode::kMismatch);
  EXPECT_TRUE(mentions(
      error.what(),
      {"\"model\": tensor \"0.weight\" was saved as f32 [8, 4], here it is f32 [9, 4]",
       "\"model\": tensor \"2.weight\" is missing from the checkpoint; here it is f32 [1, 9]",
       "\"model\": tensor \"3.bias\" is in the checkpoint; here there is none of that name",
       "\"model\": tensor \"1.running_mean\"", "\"optimizer\": it was saved as Adam",
       "\"sampler\": tensor \"indices\"", "\"steps\"", "\"absent\"", ".optional_load = true"}));
  EXPECT_TRUE(same_bits(bits_of(*net), before));
}

TEST_F(Checkpoints, MayLackAnOptionalObjectAndHaveMoreThanIsAskedFor) {
  std::int64_t a = 1, b = 2;
  Checkpointer(store()).add_recoverable("a", a).add_recoverable("b", b).save_checkpoint();
  std::int64_t c = 3;
  a = 0;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("a", a).add_recoverable("c", c, {.optional_load = true});
  const Recovery recovery = checkpointer.recover_if_possible();
  EXPECT_EQ(a, 1);
  EXPECT_EQ(c, 3);
  EXPECT_EQ(recovery.report.loaded, std::vector<std::string>{"a"});
  EXPECT_EQ(recovery.report.missing, std::vector<std::string>{"c"});
  EXPECT_EQ(recovery.report.ignored, std::vector<std::string>{"b"});
}

TEST_F(Checkpoints, LoadOnlyWhatIsNamed) {
  std::int64_t a = 1, b = 2;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("a", a).add_recoverable("b", b).save_checkpoint();
  a = b = 0;
  const auto newest = checkpointer.list_checkpoints().front();
  EXPECT_TRUE(checkpointer.load_checkpoint(newest, {.only = {"b"}}).ignored.empty());
  EXPECT_EQ(a, 0);
  EXPECT_EQ(b, 2);
  const Error error = error_of([&] { checkpointer.load_checkpoint(newest, {.only = {"B"}}); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_TRUE(mentions(error.what(), {"\"B\"", "\"a\"", "\"b\""}));
}

// ---- registering
// ------------------------------------------------------------------------------------

TEST_F(Checkpoints, HaveOneObjectForEachName) {
  std::int64_t a = 1, b = 2;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("a", a);
  EXPECT_EQ(error_of([&] { checkpointer.add_recoverable("a", b); }).code(),
            ErrorCode::kAlreadyExists);
  EXPECT_EQ(error_of([&] { checkpointer.add_recoverable("", b); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(Checkpoints, TakeAMapOfObjectsWholeOrNotAtAll) {
  std::int64_t a = 1, b = 2;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverables({{"b", b}});
  EXPECT_EQ(error_of([&] {
              checkpointer.add_recoverables({{"a", a}, {"b", b}});
            }).code(),
            ErrorCode::kAlreadyExists);
  EXPECT_EQ(checkpointer.recoverables(), std::vector<std::string>{"b"});
}

TEST_F(Checkpoints, NeedObjectsToSaveAndToRecover) {
  Checkpointer checkpointer(store());
  EXPECT_EQ(error_of([&] { checkpointer.save_checkpoint(); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { checkpointer.recover_if_possible(); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(Checkpoints, AreTakenByOneJobAtATime) {
  const Checkpointer first(store());
  EXPECT_EQ(error_of([&] { Checkpointer second(store()); }).code(), ErrorCode::kBusy);
  const Checkpointer finder(store(), {.read_only = true});
  EXPECT_TRUE(finder.list_checkpoints().empty());
}

// ---- saving
// -----------------------------------------------------------------------------------------

TEST_F(Checkpoints, CarryTheirMetadata) {
  save_number(1, {.meta = {{"loss", 15.5}, {"kind", "fast"}, {"count", 3}}, .end_of_epoch = false});
  const Checkpointer finder(store(), {.read_only = true});
  const CheckpointInfo info = *finder.find_checkpoint();
  EXPECT_EQ(info.meta.get("loss"), MetaValue(15.5));
  EXPECT_EQ(info.meta.get("kind"), MetaValue("fast"));
  EXPECT_EQ(info.meta.get("count"), MetaValue(3));
  EXPECT_EQ(info.meta.get("end-of-epoch"), MetaValue(false));
  EXPECT_TRUE(info.meta.get("unixtime")->is_double());
  EXPECT_EQ(info.recoverables, std::vector<std::string>{"number"});
}

TEST_F(Checkpoints, AddNoChunkForTheSameStateTwice) {
  Job job(1);
  Checkpointer checkpointer(store());
  job.register_in(checkpointer);
  EXPECT_GT(checkpointer.save_checkpoint().new_chunks, 0U);
  EXPECT_EQ(checkpointer.save_checkpoint().new_chunks, 0U);
}

TEST_F(Checkpoints, OfOneNameNeedReplace) {
  save_number(1, {.name = "step-1"});
  EXPECT_EQ(error_of([&] { save_number(2, {.name = "step-1"}); }).code(),
            ErrorCode::kAlreadyExists);
  save_number(2, {.name = "step-1", .replace = true});
  EXPECT_EQ(names(), std::vector<std::string>{"step-1"});
  std::int64_t number = 0;
  Checkpointer(store()).add_recoverable("number", number).recover_if_possible();
  EXPECT_EQ(number, 2);
}

// ---- recovering
// ---------------------------------------------------------------------------------------

TEST_F(Checkpoints, GiveNothingFromAnEmptyStore) {
  std::int64_t number = 7;
  Checkpointer checkpointer(store());
  const Recovery recovery = checkpointer.add_recoverable("number", number).recover_if_possible();
  EXPECT_FALSE(recovery);
  EXPECT_TRUE(recovery.passed_over.empty());
  EXPECT_EQ(number, 7);
}

TEST_F(Checkpoints, GiveTheNewestUnlessAskedForAnother) {
  for (const int number : {1, 2, 3}) {
    save_number(number, {.meta = {{"loss", number == 2 ? 0.5 : 2.0 + number}}});
  }
  std::int64_t number = 0;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("number", number);
  checkpointer.recover_if_possible();
  EXPECT_EQ(number, 3);
  checkpointer.recover_if_possible({.min_key = "loss"});
  EXPECT_EQ(number, 2);
  checkpointer.recover_if_possible({.max_key = "loss"});
  EXPECT_EQ(number, 3);
  EXPECT_FALSE(checkpointer.recover_if_possible(
      {.ckpt_predicate = [](const CheckpointInfo&) { return false; }}));
  EXPECT_EQ(error_of([&] { checkpointer.recover_if_possible({.min_key = "los"}); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(Checkpoints, PassOverADamagedOneAndRemember) {
  for (const int seed : {1, 2}) {
    Job job(seed);
    Checkpointer checkpointer(store());
    job.register_in(checkpointer);
    checkpointer.save_checkpoint({.name = "seed-" + std::to_string(seed)});
  }
  damage("seed-2", "model");
  Job job(3);
  std::vector<std::string> log;
  const StoreOptions options{.log = [&](std::string_view line) { log.emplace_back(line); }};
  {
    Checkpointer checkpointer(store(), options);
    job.register_in(checkpointer);
    const Recovery recovery = checkpointer.recover_if_possible();
    ASSERT_TRUE(recovery);
    EXPECT_EQ(recovery->name, "seed-1");
    ASSERT_EQ(recovery.passed_over.size(), 1U);
    EXPECT_EQ(recovery.passed_over[0].checkpoint.name, "seed-2");
    EXPECT_TRUE(mentions(recovery.passed_over[0].reason, {"model/"}));
    EXPECT_EQ(job.steps, 1);
    EXPECT_TRUE(mentions(log.back(), {"seed-2", "model/"}));
  }
  Checkpointer checkpointer(store());
  job.register_in(checkpointer);
  EXPECT_TRUE(checkpointer.list_checkpoints()[0].damaged);
  const Recovery again = checkpointer.recover_if_possible();
  EXPECT_EQ(again->name, "seed-1");
  ASSERT_EQ(again.passed_over.size(), 1U);
  EXPECT_TRUE(mentions(again.passed_over[0].reason, {"known to be damaged"}));
}

TEST_F(Checkpoints, ArePassedOverHoweverFewAreAskedFor) {
  Job job(1);
  Checkpointer(store()).add_recoverable("model", job.net).save_checkpoint({.name = "old"});
  train_step(job.net, job.adam, 5);
  Checkpointer(store()).add_recoverable("model", job.net).save_checkpoint({.name = "new"});
  damage("new", "model");
  Checkpointer finder(store(), {.read_only = true, .log = [](std::string_view) {}});
  const Recovery recovery =
      finder.add_recoverable("model", job.net).recover_if_possible({.max_num_checkpoints = 1});
  EXPECT_EQ(recovery->name, "old");
  EXPECT_EQ(recovery.passed_over.at(0).checkpoint.name, "new");
}

TEST_F(Checkpoints, OfWhichNoneIsIntactAreAnError) {
  Job job(1);
  {
    Checkpointer checkpointer(store());
    job.register_in(checkpointer);
    checkpointer.save_checkpoint({.name = "only"});
  }
  damage("only", "model");
  for (int attempt = 0; attempt < 2; ++attempt) {  // found damaged, then known to be damaged
    Checkpointer checkpointer(store(), {.log = [](std::string_view) {}});
    job.register_in(checkpointer);
    const Error error = error_of([&] { checkpointer.recover_if_possible(); });
    EXPECT_EQ(error.code(), ErrorCode::kDamaged);
    EXPECT_TRUE(mentions(error.what(), {"no intact checkpoint", "only"}));
  }
}

TEST_F(Checkpoints, AreNotPassedOverForAMismatch) {
  save_number(1);
  std::string text;
  {
    Checkpointer checkpointer(store());
    checkpointer.add_recoverable("number", text).save_checkpoint();
  }
  std::int64_t number = 0;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("number", number);
  EXPECT_EQ(error_of([&] { checkpointer.recover_if_possible(); }).code(), ErrorCode::kMismatch);
  EXPECT_FALSE(checkpointer.list_checkpoints()[0].damaged);
}

// ---- keeping
// ------------------------------------------------------------------------------------------

TEST_F(Checkpoints, AreSavedAndDeletedInOneCommit) {
  std::int64_t number = 0;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("number", number);
  for (; number < 4; ++number) {
    const auto sequence = checkpointer.store().stat().sequence;
    const SaveAndKeepResult done =
        checkpointer.save_and_keep_only({.name = std::to_string(number)}, {.num_to_keep = 2});
    EXPECT_EQ(checkpointer.store().stat().sequence, sequence + 1);
    EXPECT_EQ(done.saved.name, std::to_string(number));
    EXPECT_EQ(done.kept.front().checkpoint.name, done.saved.name);
    EXPECT_EQ(done.deleted.size(), number < 2 ? 0U : 1U);
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"3", "2"}));
}

TEST_F(Checkpoints, AreKeptByKeyAndPredicateWithTheRuleThatDecided) {
  std::int64_t number = 0;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("number", number);
  const KeepOptions keep{
      .num_to_keep = 1, .min_keys = {"loss"}, .ckpt_predicate = [](const CheckpointInfo& info) {
        return info.meta.get("kind") == "full";
      }};
  checkpointer.save_checkpoint({.meta = {{"loss", 1.0}, {"kind", "full"}}, .name = "best"});
  checkpointer.save_checkpoint({.meta = {{"loss", 9.0}, {"kind", "fast"}}, .name = "fast"});
  checkpointer.save_checkpoint({.meta = {{"loss", 3.0}, {"kind", "full"}}, .name = "worse"});
  const SaveOptions last{.meta = {{"loss", 2.0}, {"kind", "full"}}, .name = "last"};

  const RetentionPlan plan = checkpointer.plan_save_and_keep_only(last, keep);
  EXPECT_EQ(names().size(), 3U);
  const SaveAndKeepResult done = checkpointer.save_and_keep_only(last, keep);
  ASSERT_EQ(done.deleted.size(), 1U);
  EXPECT_EQ(done.deleted[0].checkpoint.name, "worse");
  EXPECT_FALSE(done.deleted[0].rule.empty());
  EXPECT_EQ(names(), (std::vector<std::string>{"last", "fast", "best"}));
  ASSERT_EQ(plan.deleted.size(), 1U);
  EXPECT_EQ(plan.deleted[0].checkpoint.name, "worse");
  EXPECT_EQ(plan.kept.size(), done.kept.size());
  EXPECT_EQ(plan.kept[0].checkpoint.name, "last");
}

TEST_F(Checkpoints, ReportTheOneThatASaveReplaced) {
  std::int64_t number = 0;
  Checkpointer checkpointer(store());
  checkpointer.add_recoverable("number", number);
  checkpointer.save_checkpoint({.name = "a"});
  checkpointer.save_checkpoint({.name = "b"});
  const auto done =
      checkpointer.save_and_keep_only({.name = "a", .replace = true}, {.num_to_keep = 5});
  ASSERT_EQ(done.deleted.size(), 1U);
  EXPECT_EQ(done.deleted[0].checkpoint.name, "a");
  EXPECT_EQ(done.deleted[0].rule, "replaced");
  EXPECT_EQ(names(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(Checkpoints, AreSavedAllTheSameWhenNoneHasTheKeyYet) {
  std::int64_t number = 0;
  std::vector<std::string> log;
  Checkpointer checkpointer(store(),
                            {.log = [&](std::string_view message) { log.emplace_back(message); }});
  checkpointer.add_recoverable("number", number);
  const KeepOptions keep{.num_to_keep = 1, .min_keys = {"loss"}};
  for (const char* name : {"1", "2"}) {
    const RetentionPlan plan = checkpointer.plan_save_and_keep_only({.name = name}, keep);
    const SaveAndKeepResult done = checkpointer.save_and_keep_only({.name = name}, keep);
    EXPECT_TRUE(done.deleted.empty());
    EXPECT_NE(done.problem.find(R"(no checkpoint has the metadata key "loss")"), std::string::npos);
    EXPECT_EQ(plan.problem, done.problem);
    EXPECT_EQ(done.kept.front().rule, "nothing is deleted, because " + done.problem);
  }
  ASSERT_EQ(log.size(), 1U);  // Said once.
  EXPECT_NE(log[0].find("nothing is deleted while saving"), std::string::npos);
  EXPECT_EQ(error_of([&] { checkpointer.delete_checkpoints(keep); }).code(),
            ErrorCode::kInvalidArgument);

  checkpointer.save_and_keep_only({.meta = {{"loss", 1.0}}, .name = "3"}, keep);
  EXPECT_EQ(names(), std::vector<std::string>{"3"});
}

TEST_F(Checkpoints, AreSavedAsPlannedWhateverTheOptions) {
  std::int64_t number = 0;
  std::mt19937 random(7);
  Checkpointer checkpointer(store(), {.log = [](std::string_view) {}});
  checkpointer.add_recoverable("number", number);
  const auto described = [](const std::vector<RetentionDecision>& decisions) {
    std::string text;
    for (const RetentionDecision& decision : decisions) {
      text += std::to_string(decision.checkpoint.id) + " " + decision.checkpoint.name + ": " +
              decision.rule + "\n";
    }
    return text;
  };
  for (int step = 0; step < 100; ++step) {
    const auto held = checkpointer.list_checkpoints();
    if (!held.empty() && random() % 5 == 0) checkpointer.pin(held[random() % held.size()]);
    if (!held.empty() && random() % 5 == 0) checkpointer.unpin(held[random() % held.size()]);
    if (!held.empty() && random() % 8 == 0) {
      checkpointer.store().set_damaged(std::vector{held[random() % held.size()].id}, true);
    }
    SaveOptions save;
    if (random() % 3 != 0) save.meta.set("loss", static_cast<double>(random() % 4));
    if (!held.empty() && random() % 4 == 0) save.name = held[random() % held.size()].name;
    save.replace = true;
    KeepOptions keep{.num_to_keep = static_cast<int>(random() % 4),
                     .keep_recent = random() % 3 != 0,
                     .keep_every = random() % 3 == 0 ? 4U : 0U};
    if (random() % 2 == 0) keep.min_keys = {"loss"};
    const RetentionPlan plan = checkpointer.plan_save_and_keep_only(save, keep);
    const SaveAndKeepResult done = checkpointer.save_and_keep_only(save, keep);
    ASSERT_EQ(described(done.kept), described(plan.kept)) << "step " << step;
    ASSERT_EQ(described(done.deleted), described(plan.deleted)) << "step " << step;
    ASSERT_EQ(done.problem, plan.problem);
    std::string kept;
    for (const CheckpointInfo& info : checkpointer.list_checkpoints()) {
      kept += std::to_string(info.id) + " ";
    }
    std::string expected;
    for (const RetentionDecision& one : done.kept) {
      expected += std::to_string(one.checkpoint.id) + " ";
    }
    ASSERT_EQ(kept, expected) << "step " << step;
  }
}

TEST_F(Checkpoints, AreRememberedAsDamagedByALoadAndThenGoFirst) {
  for (int number = 0; number < 3; ++number) save_number(number, {.name = std::to_string(number)});
  torch::nn::Linear net(3, 2);
  {
    Checkpointer checkpointer(store());
    checkpointer.add_recoverable("net", net).save_checkpoint({.name = "net"});
  }
  damage("net", "net");
  {
    Checkpointer checkpointer(store());
    checkpointer.add_recoverable("net", net);
    const CheckpointInfo info = *checkpointer.find_checkpoint();
    EXPECT_EQ(error_of([&] { checkpointer.load_checkpoint(info); }).code(), ErrorCode::kDamaged);
  }
  Checkpointer checkpointer(store());  // After a restart.
  EXPECT_TRUE(checkpointer.find_checkpoint()->damaged);
  const RetentionPlan plan = checkpointer.delete_checkpoints({.num_to_keep = 2});
  ASSERT_EQ(plan.deleted.size(), 2U);
  EXPECT_EQ(plan.deleted[0].rule, "damaged");
  EXPECT_EQ(names(), (std::vector<std::string>{"2", "1"}));
}

TEST_F(Checkpoints, AreDeletedAsPlannedAndPinsSurvive) {
  for (int number = 0; number < 4; ++number) save_number(number, {.name = std::to_string(number)});
  Checkpointer checkpointer(store());
  checkpointer.pin(checkpointer.list_checkpoints().back());
  EXPECT_EQ(checkpointer.plan_delete_checkpoints().deleted.size(), 2U);
  EXPECT_EQ(names().size(), 4U);
  EXPECT_EQ(checkpointer.delete_checkpoints().deleted.size(), 2U);
  EXPECT_EQ(names(), (std::vector<std::string>{"3", "0"}));
  checkpointer.unpin(checkpointer.list_checkpoints().back());
  checkpointer.delete_checkpoints();
  EXPECT_EQ(names(), std::vector<std::string>{"3"});
}

TEST_F(Checkpoints, AreFoundBestFirst) {
  for (const int number : {3, 1, 2}) {
    save_number(number, {.meta = {{"acc", number}}, .name = std::to_string(number)});
  }
  const Checkpointer finder(store(), {.read_only = true});
  EXPECT_EQ(finder.find_checkpoint()->name, "2");
  EXPECT_EQ(finder.find_checkpoint({.max_key = "acc"})->name, "3");
  EXPECT_EQ(finder.find_checkpoint({.min_key = "acc"})->name, "1");
  EXPECT_EQ(finder.find_checkpoints({.max_num_checkpoints = 2}).size(), 2U);
  EXPECT_FALSE(
      finder.find_checkpoint({.ckpt_predicate = [](const CheckpointInfo&) { return false; }}));
}

TEST_F(Checkpoints, StayReadableWhileAHandleIsOpen) {
  save_number(1);
  Checkpointer checkpointer(store());
  const CheckpointInfo info = *checkpointer.find_checkpoint();
  const Checkpoint handle = checkpointer.open(info);
  checkpointer.delete_checkpoints({.num_to_keep = 0});
  EXPECT_EQ(handle.values("number").at("value"), MetaValue(1));
  EXPECT_EQ(error_of([&] { checkpointer.open(info); }).code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace cairn::testing
