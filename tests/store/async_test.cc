// Saves that go on behind their callers. The disk is held up at the system call seam, so that what
// happens meanwhile does not depend on time.

#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace cairn {
namespace {

using testing::Bytes;
using testing::contents;
using testing::error_of;
using testing::everything;
using testing::model;
using testing::model_of;
using testing::ScratchDirectory;
using testing::tensor;

/// Lets no write to a pack through while it is closed.
class Gate {
 public:
  Gate() {
    testing::system_faults().on_write = [this](int fd, std::size_t, off_t) {
      if (!testing::path_of(fd).ends_with("/pack")) return 0;
      std::unique_lock lock(mutex_);
      arrived_ = true;
      changed_.notify_all();
      changed_.wait(lock, [&] { return is_open_; });
      return error_;
    };
  }
  ~Gate() {
    open();
    testing::reset_system();
  }
  void close() { set(false, 0); }
  void open() { set(true, 0); }
  /// Opens, and lets every write fail.
  void fail_with(int error) { set(true, error); }
  /// Returns when a write waits or has passed since it was closed.
  void await_arrival() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_; });
  }

 private:
  void set(bool is_open, int error) {
    const std::lock_guard lock(mutex_);
    if (!is_open) arrived_ = false;
    is_open_ = is_open;
    error_ = error;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = true;
  bool arrived_ = false;
  int error_ = 0;
};

class AsyncSave : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return scratch_ / "store"; }

  ScratchDirectory scratch_;
  Gate gate_;
};

/// Memory that a test may change, and its state.
struct Live {
  explicit Live(std::uint64_t seed)
      : large(testing::pattern(seed, 3'000'000)), small(testing::pattern(seed + 1, 500)) {}

  CheckpointState state() const {
    const auto input = [](std::string key, const Bytes& bytes) {
      return TensorInput{.key = std::move(key),
                         .dtype = DType::kU8,
                         .shape = {static_cast<std::int64_t>(bytes.size())},
                         .data = bytes.data(),
                         .owner = {std::shared_ptr<void>(), &bytes}};
    };
    return {{.name = "model", .tensors = {input("large", large), input("small", small)}}};
  }
  void wipe() {
    std::fill(large.begin(), large.end(), std::byte{0});
    std::fill(small.begin(), small.end(), std::byte{0});
  }

  Bytes large;
  Bytes small;
};

TEST_F(AsyncSave, SavesTheStateAtTheCallWhateverHappensToTheTensorsNext) {
  Store store(path());
  Live live(1);
  const auto expected = contents(live.state());
  gate_.close();
  auto future = store.save_async(live.state(), {.name = "a"});
  live.wipe();
  gate_.open();
  EXPECT_EQ(future.get().saved.name, "a");
  EXPECT_EQ(everything(store).at("a"), expected);
}

TEST_F(AsyncSave, ReturnsBeforeTheDiskHasIt) {
  Store store(path());
  gate_.close();
  auto future = store.save_async(model_of(1, 2, 100'000));
  gate_.await_arrival();
  EXPECT_FALSE(future.skipped());
  EXPECT_FALSE(future.ready());
  EXPECT_TRUE(store.checkpoints().empty());  // and listing does not wait
  gate_.open();
  future.wait();
  EXPECT_TRUE(future.ready());
  EXPECT_EQ(store.checkpoints().size(), 1U);
}

TEST_F(AsyncSave, CopiesOnlyWhatIsNew) {
  Store store(path());
  Live live(1);
  EXPECT_EQ(store.save_async(live.state()).cost().copied_bytes, 3'000'500U);
  EXPECT_EQ(store.save_async(live.state()).cost().copied_bytes, 0U);
  live.small[0] ^= std::byte{1};
  auto future = store.save_async(live.state());
  EXPECT_EQ(future.cost().copied_bytes, 500U);
  EXPECT_EQ(future.get().new_chunks, 1U);
  EXPECT_EQ(contents(store.open(3)), contents(live.state()));
}

TEST_F(AsyncSave, StoresEqualChunksOfOneStateOnce) {
  Store store(path());
  const Bytes bytes = testing::pattern(1, 100'000);
  const auto state = model({tensor("a", bytes), tensor("b", bytes), tensor("c", bytes)});
  auto future = store.save_async(state);
  EXPECT_EQ(future.cost().copied_bytes, 100'000U);
  EXPECT_EQ(future.get().new_chunks, 1U);
  EXPECT_EQ(contents(store.open(1)), contents(state));
}

TEST_F(AsyncSave, ASecondOneIsSkippedWhenAskedTo) {
  Store store(path());
  gate_.close();
  auto first = store.save_async(model_of(1, 2, 100'000), {.name = "first"});
  auto second = store.save_async(model_of(2, 2, 100'000), {.name = "second"},
                                 {.back_pressure = BackPressure::kSkip});
  EXPECT_TRUE(second.skipped());
  EXPECT_TRUE(second.ready());
  EXPECT_EQ(error_of([&] { second.get(); }).code(), ErrorCode::kInvalidArgument);
  gate_.open();
  first.wait();
  EXPECT_FALSE(store
                   .save_async(model_of(2, 2, 100'000), {.name = "third"},
                               {.back_pressure = BackPressure::kSkip})
                   .skipped());
  const auto all = store.checkpoints();  // the third may be on its way yet
  EXPECT_TRUE(std::none_of(all.begin(), all.end(),
                           [](const CheckpointInfo& info) { return info.name == "second"; }));
}

TEST_F(AsyncSave, ChangesTakeEffectInTheOrderOfTheirCalls) {
  Store store(path());
  gate_.close();
  auto first = store.save_async(model_of(1, 2, 100'000), {.name = "first"});
  std::atomic<bool> is_second_done{false};
  std::thread second([&] {
    auto future = store.save_async(model_of(2, 2, 100'000), {.name = "second"});
    EXPECT_GT(future.cost().waited.count(), 0);
    store.save(model_of(3, 2, 100'000), {.name = "third"});
    is_second_done = true;
  });
  gate_.await_arrival();
  EXPECT_FALSE(is_second_done);
  gate_.open();
  second.join();
  std::vector<std::string> names;
  for (const CheckpointInfo& info : store.checkpoints()) names.push_back(info.name);
  EXPECT_EQ(names, (std::vector<std::string>{"third", "second", "first"}));
}

TEST_F(AsyncSave, KeepsWhatItSharesWithACheckpointThatIsDeletedNext) {
  Store store(path());
  const auto state = model_of(1, 3, 200'000);
  const auto id = store.save(state, {.name = "old"}).saved.id;
  gate_.close();
  auto future = store.save_async(state, {.name = "new"});
  std::thread deletion([&] { store.remove({&id, 1}); });
  gate_.open();
  deletion.join();
  EXPECT_EQ(everything(store),
            (std::map<std::string, testing::Contents>{{"new", contents(state)}}));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(AsyncSave, AnErrorReachesTheFuture) {
  Store store(path());
  gate_.close();
  auto future = store.save_async(model_of(1, 2, 100'000));
  gate_.fail_with(ENOSPC);
  EXPECT_EQ(error_of([&] { future.get(); }).code(), ErrorCode::kNoSpace);
  gate_.open();
  store.save(model_of(1, 2, 100'000));  // told once is enough
  EXPECT_EQ(store.checkpoints().size(), 1U);
}

TEST_F(AsyncSave, AnErrorThatNobodyWasToldOfReachesTheNextChangeWhichDoesNothingElse) {
  Store store(path());
  gate_.close();
  store.save_async(model_of(1, 2, 100'000));
  gate_.fail_with(ENOSPC);
  const Error error = error_of([&] { store.save(model_of(2, 2, 100'000), {.name = "b"}); });
  EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
  EXPECT_NE(std::string(error.what()).find("asynchronous save before this call"),
            std::string::npos);
  gate_.open();
  EXPECT_TRUE(store.checkpoints().empty());
  store.save(model_of(2, 2, 100'000), {.name = "b"});
  EXPECT_EQ(store.checkpoints().size(), 1U);
}

TEST_F(AsyncSave, AnErrorThatNobodyWasToldOfIsLoggedInTheEnd) {
  std::vector<std::string> said;
  {
    Store store(path(), {.log = [&](std::string_view text) { said.emplace_back(text); }});
    gate_.close();
    store.save_async(model_of(1, 2, 100'000));
    gate_.fail_with(EIO);
  }
  ASSERT_FALSE(said.empty());
  EXPECT_NE(said.back().find("an asynchronous save failed"), std::string::npos);
}

TEST_F(AsyncSave, BadArgumentsAreErrorsOfTheCall) {
  Store store(path());
  store.save(model_of(1, 1, 100), {.name = "taken"});
  const auto state = model_of(2, 1, 100);
  EXPECT_EQ(error_of([&] { store.save_async(state, {.name = "taken"}); }).code(),
            ErrorCode::kAlreadyExists);
  EXPECT_EQ(error_of([&] { store.save_async(state, {.name = "a/b"}); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] {
              store.save_async(state, {.retention = [](auto) -> std::vector<std::uint64_t> {
                                 throw Error(ErrorCode::kInvalidArgument, "a bad rule");
                               }});
            }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(store.checkpoints().size(), 1U);
}

TEST_F(AsyncSave, AsksTheRetentionRuleOnTheCallersThreadAndDeletesInItsCommit) {
  Store store(path());
  store.save(model_of(1, 1, 100'000), {.name = "1"});
  store.save(model_of(2, 1, 100'000), {.name = "2"});
  std::thread::id asked_on;
  gate_.close();
  auto future = store.save_async(
      model_of(3, 1, 100'000), {.name = "3", .retention = [&](std::span<const CheckpointInfo> all) {
                                  asked_on = std::this_thread::get_id();
                                  EXPECT_EQ(all.size(), 3U);
                                  EXPECT_EQ(all.front().name, "3");
                                  return std::vector<std::uint64_t>{all.back().id};
                                }});
  EXPECT_EQ(asked_on, std::this_thread::get_id());
  EXPECT_EQ(store.checkpoints().size(), 2U);
  gate_.open();
  EXPECT_EQ(future.get().deleted, std::vector<std::uint64_t>{1});
  EXPECT_EQ(everything(store).size(), 2U);
}

TEST_F(AsyncSave, AnotherUnderTheSameNameReplaces) {
  Store store(path());
  store.save(model_of(1, 1, 100'000), {.name = "a"});
  auto future = store.save_async(model_of(2, 1, 100'000), {.name = "a", .replace = true});
  EXPECT_EQ(future.get().deleted, std::vector<std::uint64_t>{1});
  EXPECT_EQ(everything(store).at("a"), contents(model_of(2, 1, 100'000)));
}

TEST_F(AsyncSave, OneWithMoreNewBytesThanTheBufferMayHoldIsWrittenByItsCaller) {
  Store store(path());
  Live live(1);
  auto future = store.save_async(live.state(), {}, {.max_buffer_bytes = 1'100'000});
  EXPECT_TRUE(future.cost().written_by_caller);
  EXPECT_LE(future.cost().copied_bytes, 1'100'000U);
  EXPECT_TRUE(future.ready());
  const auto expected = contents(live.state());
  live.wipe();
  EXPECT_EQ(contents(store.open(future.get().saved.id)), expected);
}

TEST_F(AsyncSave, DestructionWaits) {
  const auto state = model_of(1, 2, 100'000);
  std::optional<Store> store(path());
  gate_.close();
  store->save_async(state, {.name = "a"});
  std::thread opener([&] {
    gate_.await_arrival();
    gate_.open();
  });
  store.reset();
  opener.join();
  EXPECT_EQ(everything(Store(path(), {.read_only = true})).at("a"), contents(state));
}

TEST_F(AsyncSave, DestructionWaitsThoughAnOpenCheckpointKeepsTheHandle) {
  std::optional<Store> store(path());
  store->save(model_of(1, 1, 100'000), {.name = "a"});
  const Checkpoint open = store->open(1);
  gate_.close();
  auto future = store->save_async(model_of(2, 1, 100'000), {.name = "b"});
  std::thread opener([&] {
    gate_.await_arrival();
    gate_.open();
  });
  store.reset();
  opener.join();
  EXPECT_TRUE(future.ready());
}

TEST_F(AsyncSave, TheResultCanBeTakenOnce) {
  Store store(path());
  auto future = store.save_async(model_of(1, 1, 100));
  future.get();
  EXPECT_EQ(error_of([&] { future.get(); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(AsyncSave, AFailedFlushPoisonsTheHandle) {
  Store store(path());
  testing::system_faults().on_flush = [](int fd) {
    return testing::path_of(fd).ends_with("/pack") ? EIO : 0;
  };
  auto future = store.save_async(model_of(1, 1, 100'000));
  EXPECT_EQ(error_of([&] { future.get(); }).code(), ErrorCode::kIo);
  testing::system_faults().on_flush = nullptr;
  EXPECT_EQ(error_of([&] { store.save(model_of(1, 1, 100'000)); }).code(), ErrorCode::kPoisoned);
}

TEST_F(AsyncSave, StoresAChunkOfADamagedCheckpointAnew) {
  Store store(path());
  const auto state = model_of(1, 1, 100'000);
  const auto id = store.save(state, {.name = "rotten"}).saved.id;
  testing::flip_byte(path() / "pack", store.open(id).chunks(0).front().pack_offset + 7);
  store.set_damaged({&id, 1}, true);
  store.save_async(state, {.name = "good"}).get();
  EXPECT_EQ(contents(store.open(2)), contents(state));
}

TEST_F(AsyncSave, KeepOnlyTwoDoesNotGrowThePackForEver) {
  Store store(path());
  const auto keep_two = [](std::span<const CheckpointInfo> all) {
    std::vector<std::uint64_t> going;
    for (std::size_t i = 2; i < all.size(); ++i) going.push_back(all[i].id);
    return going;
  };
  std::uint64_t after_six = 0;
  for (std::uint64_t n = 0; n < 20; ++n) {
    store.save_async(model_of(n, 2, 300'000), {.retention = keep_two}).get();
    if (n == 6) after_six = store.stat().pack_bytes;
  }
  EXPECT_EQ(store.stat().pack_bytes, after_six);
}

TEST_F(AsyncSave, AForkedChildNeitherWaitsForItNorHarmsIt) {
  auto store = std::make_unique<Store>(path());
  const auto state = model_of(1, 2, 100'000);
  gate_.close();
  auto future = store->save_async(state, {.name = "a"});
  gate_.await_arrival();
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      store->save(state);
    } catch (const Error& error) {
      code = error.code() == ErrorCode::kForked ? 0 : 2;
    }
    store.reset();  // would wait for ever for a thread that is not here
    ::_exit(code);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  gate_.open();
  future.get();
  EXPECT_EQ(everything(*store).at("a"), contents(state));
}

// Under tsan: threads that save, list and read at once.
TEST(AsyncConcurrency, SavesFromSeveralThreadsBesideReaders) {
  const ScratchDirectory scratch;
  Store store(scratch / "store");
  store.save(model_of(1000, 2, 70'000), {.name = "1000"});
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      for (const CheckpointInfo& info : store.checkpoints()) {
        EXPECT_EQ(contents(store.open(info.id)),
                  contents(model_of(std::stoull(info.name), 2, 70'000)));
      }
    }
  });
  std::vector<std::thread> writers;
  for (std::uint64_t t = 0; t < 3; ++t) {
    writers.emplace_back([&store, t] {
      for (std::uint64_t i = 0; i < 5; ++i) {
        const std::uint64_t number = t * 10 + i;
        store.save_async(model_of(number, 2, 70'000), {.name = std::to_string(number)});
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  reader.join();
  store.save(model_of(2000, 2, 70'000), {.name = "2000"});  // after all of them
  EXPECT_EQ(store.checkpoints().size(), 17U);
  EXPECT_TRUE(store.verify().ok);
}

}  // namespace
}  // namespace cairn
