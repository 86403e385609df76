// Scrubbing: rot is found a little at a time, and what it touches is marked.

#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace cairn {
namespace {

using testing::error_of;
using testing::flip_byte;
using testing::model_of;
using testing::ScratchDirectory;

class Scrub : public ::testing::Test {
 protected:
  ~Scrub() override { testing::reset_system(); }

  std::filesystem::path path() const { return scratch_ / "store"; }
  std::uint64_t place_of(const Store& store, std::uint64_t id, std::size_t tensor) const {
    return store.open(id).chunks(tensor).front().pack_offset;
  }
  void rot(const Store& store, std::uint64_t id, std::size_t tensor) const {
    flip_byte(path() / "pack", place_of(store, id, tensor) + 8);
  }
  /// Steps to the end of a pass; everything that it found.
  static ScrubReport pass(Store& store, std::uint64_t step_bytes) {
    ScrubReport all;
    while (!all.pass_done) {
      const ScrubReport step = store.scrub(step_bytes);
      all.chunks += step.chunks;
      all.bytes += step.bytes;
      all.damaged.insert(all.damaged.end(), step.damaged.begin(), step.damaged.end());
      all.marked.insert(all.marked.end(), step.marked.begin(), step.marked.end());
      all.pass_done = step.pass_done;
    }
    return all;
  }

  ScratchDirectory scratch_;
};

TEST_F(Scrub, APassLooksAtEveryChunkOnce) {
  Store store(path());
  store.save(model_of(1, 5, 100'000));
  store.save(model_of(2, 5, 100'000));
  store.save(model_of(2, 5, 100'000));
  for (int i = 0; i < 2; ++i) {
    const ScrubReport report = pass(store, 1);
    EXPECT_EQ(report.chunks, 10U);
    EXPECT_GT(report.bytes, 1'000'000U);
    EXPECT_TRUE(report.damaged.empty());
  }
}

TEST_F(Scrub, AStepIsBounded) {
  Store store(path());
  store.save(model_of(1, 10, 100'000));
  pass(store, 1);
  EXPECT_LE(store.scrub(1).chunks, 1U);
  EXPECT_LE(store.scrub(250'000).chunks, 3U);
}

TEST_F(Scrub, FindsARottenChunkAndMarksEveryCheckpointThatItTouches) {
  Store store(path());
  const auto state = model_of(1, 5, 100'000);
  const auto a = store.save(state).saved.id;
  const auto b = store.save(state).saved.id;
  const auto c = store.save(model_of(2, 5, 100'000)).saved.id;
  rot(store, a, 3);
  const ScrubReport report = pass(store, 1);
  ASSERT_EQ(report.damaged.size(), 1U);
  EXPECT_EQ(report.damaged[0].what, "chunk");
  EXPECT_EQ(report.damaged[0].pack_offset, place_of(store, a, 3));
  ASSERT_EQ(report.damaged[0].touches.size(), 2U);
  EXPECT_EQ(report.damaged[0].touches[0].tensor, "model/layer.3");
  EXPECT_EQ(report.marked, (std::vector{a, b}));
  EXPECT_TRUE(store.find(a)->damaged);
  EXPECT_TRUE(store.find(b)->damaged);
  EXPECT_FALSE(store.find(c)->damaged);
  EXPECT_TRUE(pass(store, 1).marked.empty());
}

TEST_F(Scrub, FindsADamagedIndex) {
  Store store(path());
  const auto id = store.save(model_of(1, 1, 100'000)).saved.id;
  // Records of a small store lie behind the last chunk.
  const auto chunk_end = place_of(store, id, 0) + 102'400;
  flip_byte(path() / "pack", chunk_end + 200);
  const ScrubReport report = pass(store, 1 << 20);
  ASSERT_EQ(report.damaged.size(), 1U);
  EXPECT_EQ(report.damaged[0].what, "index");
  EXPECT_EQ(report.marked, std::vector{id});
}

TEST_F(Scrub, AReaderOnlyReports) {
  std::uint64_t id = 0;
  {
    Store store(path());
    id = store.save(model_of(1, 3, 100'000)).saved.id;
    rot(store, id, 0);
  }
  Store reader(path(), {.read_only = true});
  const ScrubReport report = pass(reader, 1 << 20);
  EXPECT_EQ(report.damaged.size(), 1U);
  EXPECT_TRUE(report.marked.empty());
  EXPECT_FALSE(reader.find(id)->damaged);
}

TEST_F(Scrub, LeavesOutChunksThatAreGoneAndTakesNewOnesInTheNextPass) {
  Store store(path());
  const auto old = store.save(model_of(1, 4, 100'000)).saved.id;
  std::uint64_t looked_at = store.scrub(1).chunks;
  store.remove(std::vector{old});
  store.save(model_of(2, 4, 100'000));
  bool done = false;
  while (!done) {
    const ScrubReport step = store.scrub(1);
    looked_at += step.chunks;
    done = step.pass_done;
    EXPECT_TRUE(step.damaged.empty());
  }
  EXPECT_LE(looked_at, 1U);
  EXPECT_EQ(pass(store, 1).chunks, 4U);
}

TEST_F(Scrub, ASaveHealsWhatItFoundAndTheMarkGoes) {
  Store store(path());
  const auto state = model_of(1, 3, 100'000);
  const auto id = store.save(state).saved.id;
  rot(store, id, 1);
  ASSERT_EQ(pass(store, 1).marked.size(), 1U);
  EXPECT_EQ(store.save(state).healed_chunks, 1U);
  EXPECT_FALSE(store.find(id)->damaged);
  EXPECT_TRUE(pass(store, 1).damaged.empty());
}

TEST_F(Scrub, AnErrorOfAnAsynchronousSaveIsLeftToItsOwner) {
  Store store(path());
  const auto id = store.save(model_of(1, 3, 100'000)).saved.id;
  testing::system_faults().on_reserve = [](int fd, off_t, off_t) {
    return testing::path_of(fd).ends_with("/pack") ? ENOSPC : 0;
  };
  { const auto future = store.save_async(model_of(2, 3, 100'000)); }
  rot(store, id, 1);
  EXPECT_EQ(pass(store, 1 << 20).marked, std::vector{id});
  testing::reset_system();
  EXPECT_EQ(error_of([&] { store.set_pinned(std::vector{id}, true); }).code(), ErrorCode::kNoSpace);
}

/// A log that can be waited for.
class Lines {
 public:
  LogCallback callback() {
    return [this](std::string_view line) {
      const std::lock_guard lock(mutex_);
      lines_.emplace_back(line);
      came_.notify_all();
    };
  }
  std::string wait_for(std::string_view part) {
    std::unique_lock lock(mutex_);
    std::string found;
    came_.wait(lock, [&] {
      for (const std::string& line : lines_) {
        if (line.find(part) != std::string::npos) found = line;
      }
      return !found.empty();
    });
    return found;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> lines_;
};

TEST_F(Scrub, InTheBackgroundFindsAndMarks) {
  std::uint64_t id = 0;
  {
    Store store(path());
    id = store.save(model_of(1, 5, 100'000)).saved.id;
    rot(store, id, 2);
  }
  Lines lines;
  const Store store(path(), {.scrub_bytes_per_second = 1 << 30, .log = lines.callback()});
  EXPECT_NE(lines.wait_for("the scrub found").find("checkpoint " + std::to_string(id)),
            std::string::npos);
  EXPECT_TRUE(store.find(id)->damaged);
}

TEST_F(Scrub, InTheBackgroundGoesOnBesideSavesAndEndsWithTheStore) {
  for (int i = 0; i < 5; ++i) {
    Store store(path(), {.scrub_bytes_per_second = 1 << 30});
    for (std::uint64_t n = 0; n < 5; ++n) {
      store.save_async(model_of(n, 3, 100'000), {.name = "x", .replace = true}).get();
    }
  }
  EXPECT_TRUE(Store(path()).verify().ok);
}

TEST_F(Scrub, AForkedChildLeavesTheBackgroundAlone) {
  auto store = std::make_unique<Store>(path(), StoreOptions{.scrub_bytes_per_second = 1 << 20});
  store->save(model_of(1, 3, 100'000));
  const pid_t child = ::fork();
  if (child == 0) {
    store.reset();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(store->checkpoints().size(), 1U);
}

}  // namespace
}  // namespace cairn
