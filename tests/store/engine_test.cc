// What the engines do with the disk, by counts: requests and bytes, never times. And that both ways
// to it, past the page cache and through it, store and give back the same.

#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <mutex>
#include <unistd.h>

namespace cairn {
namespace {

using testing::contents;
using testing::error_of;
using testing::everything;
using testing::model_of;
using testing::path_of;
using testing::ScratchDirectory;
using testing::system_counts;
using testing::system_faults;

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

class Engine : public ::testing::Test {
 protected:
  ~Engine() override { testing::reset_system(); }
  std::filesystem::path path() const { return scratch_ / "store"; }
  std::filesystem::path pack() const { return path() / "pack"; }

  /// Lengths of the writes to the pack while `work` runs.
  std::vector<std::size_t> pack_writes(const std::function<void()>& work) {
    std::mutex mutex;
    std::vector<std::size_t> lengths;
    testing::reset_system();
    system_faults().on_write = [&](int fd, std::size_t bytes, off_t) {
      if (path_of(fd).ends_with("/pack")) {
        const std::lock_guard lock(mutex);
        lengths.push_back(bytes);
      }
      return 0;
    };
    work();
    system_faults() = {};
    return lengths;
  }

  void forget_pages() const {
    const int fd = ::open(pack().c_str(), O_RDONLY);
    ASSERT_EQ(::fdatasync(fd), 0);
    ASSERT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    ::close(fd);
  }

  ScratchDirectory scratch_;
};

TEST_F(Engine, ALargeSaveWritesItsBytesOnceInLargeRequests) {
  Store store(path());
  const auto lengths = pack_writes([&] { store.save(model_of(1, 8, 2 * kMebibyte)); });
  // Sixteen chunks side by side, two in a request, with index and roots between; and the slot.
  EXPECT_LE(lengths.size(), 12U);
  std::size_t bytes = 0;
  for (const std::size_t length : lengths) bytes += length;
  EXPECT_GE(bytes, 16 * kMebibyte);
  EXPECT_LE(bytes, 16 * kMebibyte + 32 * 1024);
}

TEST_F(Engine, ASmallSaveIsOneRequestAndTheSlot) {
  Store store(path());
  store.save(model_of(1, 4, 1000));
  EXPECT_LE(pack_writes([&] { store.save(model_of(2, 4, 1000)); }).size(), 3U);
}

TEST_F(Engine, AKeptStateWritesNoPayload) {
  Store store(path());
  store.save(model_of(1, 8, 2 * kMebibyte));
  const auto lengths = pack_writes([&] { store.save(model_of(1, 8, 2 * kMebibyte)); });
  std::size_t bytes = 0;
  for (const std::size_t length : lengths) bytes += length;
  EXPECT_LE(bytes, 32U * 1024);  // index, two roots, slot
}

TEST_F(Engine, WhatOneWayStoredTheOtherGivesBack) {
  const auto first = model_of(1, 4, 3 * kMebibyte + 12'345);
  const auto second = model_of(2, 300, 20'000);
  {
    Store direct(path());
    direct.save(first, {.name = "first"});
  }
  {
    Store buffered(path(), {.direct_io = false});
    EXPECT_EQ(contents(buffered.open(buffered.find_by_name("first")->id)), contents(first));
    buffered.save(second, {.name = "second"});
    EXPECT_TRUE(buffered.verify().ok);
  }
  forget_pages();
  const Store direct(path());
  EXPECT_TRUE(direct.verify().ok);
  EXPECT_EQ(everything(direct).at("second"), contents(second));
}

// Space that was read through the cache, freed, and written past it must not be served from there.
TEST_F(Engine, RecycledSpaceIsReadAnew) {
  Store store(path());
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const auto state = model_of(seed, 4, 2 * kMebibyte);
    const auto keep_one = [](std::span<const CheckpointInfo> newest_first) {
      std::vector<std::uint64_t> going;
      for (const CheckpointInfo& info : newest_first.subspan(1)) going.push_back(info.id);
      return going;
    };
    const auto id = store.save(state, {.retention = keep_one}).saved.id;
    testing::read_file(pack());  // now every page is in the cache
    EXPECT_EQ(contents(store.open(id)), contents(state));
  }
}

class EngineLoads : public Engine, public ::testing::WithParamInterface<LoadMode> {
 protected:
  /// Loads all tensors of `id` into memory of their own.
  testing::Contents load(const Store& store, std::uint64_t id) {
    const Checkpoint checkpoint = store.open(id);
    testing::Contents loaded;
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      const TensorInfo& tensor = checkpoint.tensors()[i];
      auto& bytes = loaded[std::string(tensor.recoverable) + "/" + std::string(tensor.key)];
      bytes.resize(tensor.bytes);
      targets.push_back({.tensor = i, .out = bytes});
    }
    checkpoint.load(targets, GetParam());
    return loaded;
  }
};

TEST_P(EngineLoads, GiveTheSameColdAndWarm) {
  Store store(path());
  auto state = model_of(1, 3, 2 * kMebibyte + 4097);
  const auto many = model_of(2, 200, 3000);
  for (const auto& small : many[0].tensors) {
    state[0].tensors.push_back(small);
    state[0].tensors.back().key = "small." + small.key;
  }
  // Twice the same bytes: one chunk that two tensors want.
  state[0].tensors.push_back(state[0].tensors[0]);
  state[0].tensors.back().key = "again";
  const auto id = store.save(state).saved.id;
  forget_pages();
  EXPECT_EQ(load(store, id), contents(state));
  testing::read_file(pack());
  EXPECT_EQ(load(store, id), contents(state));
}

TEST_P(EngineLoads, NameEveryDamagedTensorColdAndWarm) {
  Store store(path());
  const auto id = store.save(model_of(1, 4, 2 * kMebibyte)).saved.id;
  const Checkpoint checkpoint = store.open(id);
  for (const std::size_t tensor : {1, 3}) {
    testing::flip_byte(pack(), checkpoint.chunks(tensor)[1].pack_offset + 77);
  }
  for (const bool cold : {true, false}) {
    if (cold) {
      forget_pages();
    } else {
      testing::read_file(pack());
    }
    const Error error = error_of([&] { load(store, id); });
    EXPECT_EQ(error.code(), ErrorCode::kDamaged);
    const std::string message = error.what();
    EXPECT_NE(message.find("2 tensors (\"model/layer.1\", \"model/layer.3\")"), std::string::npos)
        << message;
  }
}

TEST_P(EngineLoads, OfACutOffPackAreTruncated) {
  Store store(path());
  const auto id = store.save(model_of(1, 4, 2 * kMebibyte)).saved.id;
  const Checkpoint checkpoint = store.open(id);
  std::filesystem::resize_file(pack(), checkpoint.chunks(2)[1].pack_offset + 5000);
  forget_pages();
  EXPECT_EQ(error_of([&] { load(store, id); }).code(), ErrorCode::kTruncated);
}

INSTANTIATE_TEST_SUITE_P(Modes, EngineLoads,
                         ::testing::Values(LoadMode::kVerifyFirst, LoadMode::kStaged,
                                           LoadMode::kSinglePass),
                         [](const auto& mode) -> std::string {
                           switch (mode.param) {
                             case LoadMode::kVerifyFirst:
                               return "VerifyFirst";
                             case LoadMode::kStaged:
                               return "Staged";
                             case LoadMode::kSinglePass:
                               return "SinglePass";
                           }
                           return "";
                         });

}  // namespace
}  // namespace cairn
