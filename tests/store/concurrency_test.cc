// Readers beside a writer, and writers beside each other; suites of this name run under tsan.

#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace cairn {
namespace {

using testing::contents;
using testing::error_of;
using testing::everything;
using testing::model_of;
using testing::ScratchDirectory;

class Concurrency : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return scratch_ / "store"; }
  ScratchDirectory scratch_;
};

/// Name "7" holds `model_of(7, ...)`: what a reader finds can be told right from wrong.
CheckpointState state_named(std::uint64_t number) {
  return model_of(number, 3, 70'000);
}

std::vector<std::uint64_t> all_but_two(std::span<const CheckpointInfo> all) {
  std::vector<std::uint64_t> going;
  for (const CheckpointInfo& info : all.subspan(std::min<std::size_t>(2, all.size()))) {
    going.push_back(info.id);
  }
  return going;
}

TEST_F(Concurrency, ReadersSeeOneCommittedStateFromOpenToClose) {
  Store writer(path());
  writer.save(state_named(0), {.name = "0"});
  std::atomic<bool> done{false};
  std::atomic<int> reads{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&, shares_handle = i == 0] {
      std::optional<Store> own;
      if (!shares_handle) own.emplace(path(), StoreOptions{.read_only = true});
      const Store& store = shares_handle ? writer : *own;
      while (!done || reads < 10) {
        const auto newest = store.checkpoints().front();
        try {
          const Checkpoint checkpoint = store.open(newest.id);
          const auto expected = contents(state_named(std::stoull(newest.name)));
          for (int again = 0; again < 3; ++again) ASSERT_EQ(contents(checkpoint), expected);
          ++reads;
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), ErrorCode::kNotFound);  // deleted between listing and opening
        }
      }
    });
  }
  for (std::uint64_t number = 1; number <= 60; ++number) {
    writer.save(state_named(number), {.name = std::to_string(number), .retention = all_but_two});
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(everything(writer).size(), 2U);
  EXPECT_TRUE(writer.verify().ok);
}

TEST_F(Concurrency, SavesFromSeveralThreadsComeOneAfterAnother) {
  Store store(path());
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&store, t] {
      for (std::uint64_t i = 0; i < 5; ++i) {
        store.save(state_named(t * 10 + i), {.name = std::to_string(t * 10 + i)});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto all = everything(store);
  ASSERT_EQ(all.size(), 15U);
  for (const auto& [name, held] : all) EXPECT_EQ(held, contents(state_named(std::stoull(name))));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Concurrency, ACheckpointMayBeReadByManyThreads) {
  Store store(path());
  const auto state = state_named(1);
  const Checkpoint checkpoint = store.open(store.save(state).saved.id);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) EXPECT_EQ(contents(checkpoint), contents(state));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Concurrency, ASecondWriterIsBusyAndIsToldWho) {
  const Store store(path());
  const Error error = error_of([&] { Store second(path()); });
  EXPECT_EQ(error.code(), ErrorCode::kBusy);
  EXPECT_NE(std::string(error.what()).find("pid " + std::to_string(::getpid())), std::string::npos);
}

TEST_F(Concurrency, ASecondWriterWaitsAsLongAsItAsked) {
  auto first = std::make_unique<Store>(path());
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    first.reset();
  });
  const Store second(path(), {.busy_timeout = std::chrono::minutes(1)});
  closer.join();
}

TEST_F(Concurrency, AReaderNeedsNoLockAndHoldsNoneAgainstAWriter) {
  { Store store(path()); }
  const Store reader(path(), {.read_only = true});
  Store writer(path());
  writer.save(state_named(1), {.name = "1"});
  EXPECT_EQ(everything(reader), everything(writer));
}

TEST_F(Concurrency, ReadOnlyHandlesRefuseToChange) {
  { Store store(path()); }
  Store reader(path(), {.read_only = true});
  EXPECT_EQ(error_of([&] { reader.save(state_named(1)); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { reader.remove({}); }).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn
