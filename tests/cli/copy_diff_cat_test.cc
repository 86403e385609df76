// cp, diff, cat.
#include "cli/tool.h"
#include "support/states.h"

#include <cairn/store.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace cairn::testing {
namespace {

class TwoStates : public ToolTest {
 protected:
  // Checkpoints "a" and "b": one tensor gone, one new, one large and one small changed, one of each
  // unchanged.
  TwoStates() {
    const auto large = [](std::uint64_t seed) { return pattern(seed, 300'000); };
    const auto small = [](std::uint64_t seed) { return pattern(seed, 100); };
    Store store(store_);
    auto a = model({tensor("large/changed", large(1)), tensor("large/same", large(2)),
                    tensor("small/changed", small(3)), tensor("small/same", small(4)),
                    tensor("gone", small(5))});
    a[0].values.emplace("steps", MetaValue(1));
    store.save(a, {.meta = {{"loss", 1.0}}, .name = "a"});
    auto b = model({tensor("large/changed", large(11)), tensor("large/same", large(2)),
                    tensor("small/changed", small(13)), tensor("small/same", small(4)),
                    tensor("new", small(5))});
    b[0].values.emplace("steps", MetaValue(2));
    store.save(b, {.meta = {{"loss", 2.0}}, .name = "b"});
  }

  static Names tensor_names(const nlohmann::json& list) {
    Names names;
    for (const auto& tensor : list) names.push_back(tensor.at("name"));
    return names;
  }

  std::string other_ = dir_ / "other";
};

/// A run that prints a line now and then.
class Following {
 public:
  explicit Following(std::vector<std::string> words) : Following(std::move(words), pipe()) {}
  Following(const Following&) = delete;
  Following& operator=(const Following&) = delete;
  ~Following() { std::fclose(output_); }

  nlohmann::ordered_json line() {
    std::string text;
    for (int c = 0; (c = std::fgetc(output_)) != EOF && c != '\n';) text += static_cast<char>(c);
    return nlohmann::ordered_json::parse(text);
  }
  int stop(int signal) {
    child_.signal(signal);
    return child_.wait();
  }

 private:
  static std::pair<int, int> pipe() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
    return {ends[0], ends[1]};
  }
  Following(std::vector<std::string> words, std::pair<int, int> ends)
      : child_(std::move(words), {.out = ends.second, .err = 2}),
        output_(::fdopen(ends.first, "r")) {
    ::close(ends.second);
  }

  Child child_;
  std::FILE* output_;
};

using Diff = TwoStates;
using Cp = TwoStates;
using Cat = TwoStates;

TEST_F(Diff, TellsWhatWasAddedRemovedAndChanged) {
  const auto diff = done({"diff", store_, "a", "b", "--json"}).json();
  EXPECT_EQ(tensor_names(diff.at("added")), (Names{"model/new"}));
  EXPECT_EQ(tensor_names(diff.at("removed")), (Names{"model/gone"}));
  EXPECT_EQ(tensor_names(diff.at("changed")),
            (Names{"model/large/changed", "model/small/changed"}));
  EXPECT_EQ(diff.at("unchanged"), 2);
  EXPECT_EQ(diff.at("values"), (nlohmann::json{"model/steps"}));
  EXPECT_EQ(diff.at("meta"), (nlohmann::json{"loss", "unixtime"}));
}

TEST_F(Diff, OfACheckpointWithItselfIsEmpty) {
  const std::string text = done({"diff", store_, "a", "a"}).out;
  EXPECT_EQ(text, "tensors: 0 added, 0 removed, 0 changed, 5 unchanged\n");
}

TEST_F(Diff, DoesNotReadLargeTensors) {
  {
    const Store store(store_, {.read_only = true});
    const Checkpoint checkpoint = store.open(1);
    for (const char* key : {"large/changed", "large/same"}) {
      const auto tensor = checkpoint.find_tensor("model", key).value();
      flip_byte(dir_ / "store/pack", checkpoint.chunks(tensor).front().pack_offset);
    }
  }
  const auto diff = done({"diff", store_, "a", "b", "--json"}).json();
  EXPECT_EQ(diff.at("changed").size(), 2U);
  EXPECT_EQ(diff.at("unchanged"), 2);
}

TEST_F(Diff, ComparesTwoStoresThatCutDifferently) {
  {
    Store other(other_, {.chunk_bytes = 65'536});
    auto state = model(
        {tensor("large/changed", pattern(1, 300'000)), tensor("large/same", pattern(2, 300'000))});
    other.save(state, {.name = "a"});
  }
  const auto diff = done({"diff", store_, "a", "a", "--with", other_, "--json"}).json();
  EXPECT_EQ(diff.at("unchanged"), 2);
  EXPECT_EQ(diff.at("removed").size(), 3U);
}

TEST_F(Diff, ACheckpointThatIsNotThereIsCodeFour) {
  expect_failure(4, "nosuch", {"diff", store_, "a", "nosuch"});
}

TEST_F(Cp, CopiesEverythingOldestFirst) {
  done({"cp", store_, other_});
  EXPECT_EQ(everything(Store(other_, {.read_only = true})),
            everything(Store(store_, {.read_only = true})));
  const auto copies = done({"ls", other_, "--json"}).json();
  const auto originals = done({"ls", store_, "--json"}).json();
  ASSERT_EQ(copies.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    for (const char* key : {"name", "created_unix_ns", "meta", "tensors", "logical_bytes"}) {
      EXPECT_EQ(copies[i].at(key), originals[i].at(key));
    }
  }
}

TEST_F(Cp, GivenAgainFindsEverythingThere) {
  done({"cp", store_, other_});
  const auto again = done({"cp", store_, other_, "--json"}).json();
  EXPECT_EQ(again.at("copied").size(), 0U);
  EXPECT_EQ(again.at("already_there"), 2);
}

TEST_F(Cp, CopiesWhatIsNamedAndSharesWhatIsThere) {
  const auto first = done({"cp", store_, other_, "a", "--json"}).json().at("copied");
  EXPECT_GE(first[0].at("new_bytes"), 600'000);
  const auto second = done({"cp", store_, other_, "latest", "--json"}).json().at("copied");
  EXPECT_LE(second[0].at("new_bytes"), 310'000);  // one large tensor and the small ones
}

TEST_F(Cp, MakesACompressedCopy) {
  done({"cp", store_, other_, "--compress"});
  EXPECT_EQ(done({"stat", other_, "--json"}).json().at("compression"), "zstd");
  EXPECT_EQ(done({"verify", other_}).code, 0);
}

TEST_F(Cp, WorksWhileTheSourceIsInUse) {
  const Store job(store_);
  done({"cp", store_, other_});
  EXPECT_EQ(done({"ls", other_, "--json"}).json().size(), 2U);
}

TEST_F(Cp, ReadsAStoreWhoseReadersCannotRegister) {
  std::filesystem::permissions(
      store_, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  done({"cp", store_, other_, "--assume-no-writer"});
  done({"cp", store_, other_, "--assume-no-writer", "--dry-run"});
  std::filesystem::permissions(store_, std::filesystem::perms::owner_all);
  EXPECT_EQ(done({"ls", other_, "--json"}).json().size(), 2U);
}

TEST_F(Cp, AnotherCheckpointOfTheNameNeedsReplace) {
  done({"import", other_, safetensors(), "--name", "a"});
  expect_failure(1, "exists", {"cp", store_, other_, "a"});
  done({"cp", store_, other_, "a", "--replace"});
  EXPECT_EQ(done({"show", other_, "a", "--json"}).json().at("tensors"), 5);
}

TEST_F(Cp, ADryRunSaysWhatWouldBeCopiedAndReplaced) {
  const auto fresh = done({"cp", store_, other_, "--dry-run", "--json"}).json();
  EXPECT_EQ(tensor_names(fresh.at("copied")), (Names{"a", "b"}));
  EXPECT_FALSE(std::filesystem::exists(other_));

  done({"import", other_, safetensors(), "--name", "a"});
  expect_failure(1, "--replace would delete it", {"cp", store_, other_, "a", "--dry-run"});
  const auto plan = done({"cp", store_, other_, "--replace", "--dry-run", "--json"}).json();
  EXPECT_EQ(plan.at("deleted")[0].at("rule"), "replaced under its name");
  EXPECT_EQ(done({"ls", other_, "--json"}).json().size(), 1U);
  const auto did = done({"cp", store_, other_, "--replace", "--json"}).json();
  EXPECT_EQ(did.at("deleted"), plan.at("deleted"));
  EXPECT_EQ(did.at("copied").size(), 2U);
}

TEST_F(Cp, FollowCopiesWhatComesUntilItIsStopped) {
  Following follower({"cp", store_, other_, "--follow", "--json"});
  EXPECT_EQ(follower.line().at("name"), "a");
  EXPECT_EQ(follower.line().at("name"), "b");
  import({"--name", "c"});
  const auto copy = follower.line();
  EXPECT_EQ(copy.at("name"), "c");
  EXPECT_EQ(copy.begin().key(), "json_version");
  done({"rm", store_, "a"});  // a copy stays
  EXPECT_EQ(follower.stop(SIGINT), 128 + SIGINT);
  EXPECT_EQ(done({"ls", other_, "--json"}).json().size(), 3U);
  EXPECT_EQ(done({"verify", other_, "--json"}).json().at("ok"), true);
}

TEST_F(Cp, FollowTakesNoCheckpoint) {
  expect_failure(2, "--follow", {"cp", store_, other_, "a", "--follow"});
}

TEST_F(Cat, WritesTheBytes) {
  const Bytes expected = pattern(1, 300'000);
  const std::string out = done({"cat", store_, "a", "model/large/changed"}).out;
  ASSERT_EQ(out.size(), expected.size());
  EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size()), 0);
}

TEST_F(Cat, WritesANumPyFile) {
  const std::string out = done({"cat", store_, "a", "model/small/same", "--npy"}).out;
  ASSERT_EQ(out.size(), 128U + 100U);
  EXPECT_EQ(out.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  EXPECT_EQ(out[8] + 256 * out[9], 118);
  EXPECT_TRUE(
      out.substr(10).starts_with("{'descr': '|u1', 'fortran_order': False, 'shape': (100,), } "));
  EXPECT_EQ(out[127], '\n');
}

TEST_F(Cat, EndsBeforeDamage) {
  {
    const Store store(store_, {.read_only = true});
    const Checkpoint checkpoint = store.open(1);
    const auto tensor = checkpoint.find_tensor("model", "large/same").value();
    flip_byte(dir_ / "store/pack", checkpoint.chunks(tensor).front().pack_offset + 1000);
  }
  expect_failure(3, "large/same", {"cat", store_, "a", "model/large/same"});
}

TEST_F(Cat, ATypoIsMended) {
  expect_failure(1, "did you mean \"model/gone\"", {"cat", store_, "a", "model/gnoe"});
  expect_failure(2, "recoverable/key", {"cat", store_, "a", "gone"});
}

}  // namespace
}  // namespace cairn::testing
