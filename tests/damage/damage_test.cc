// A store of two megabytes, damaged in every way that is listed in harm.cc. Reading gives the right
// bytes or says what is damaged, `verify` finds it, `repair` mends it.
#include "damage/harm.h"
#include "damage/judge.h"
#include "damage/specimen.h"
#include "support/effort.h"
#include "support/scratch.h"
#include "support/watched.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace cairn::damage {
namespace {

using testing::Effort;
using testing::Progress;
using testing::ScratchDirectory;

/// One in so many of the damages that are read is mended as well, unless all are asked for; and one
/// in so many is saved to.
constexpr std::size_t kMendOneIn = 25;
constexpr std::size_t kSaveOneIn = 20;

/// A sanitizer makes reading several times slower, and looks for other faults than a wrong answer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kReadOneIn = 5;
#else
constexpr std::size_t kReadOneIn = 1;
#endif

std::vector<std::size_t> chosen(const Harms& harms, std::size_t sample, const Effort& effort,
                                std::uint64_t stream) {
  std::vector<std::size_t> all(harms.count);
  std::iota(all.begin(), all.end(), 0);
  auto random = effort.random(stream);
  if (!effort.is_exhaustive() && sample < all.size()) {
    std::vector<std::size_t> some;
    std::sample(all.begin(), all.end(), std::back_inserter(some), sample, random);
    return some;
  }
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

/// What a process may take besides what it has, for whomever: zstd, LMDB and the C library do not
/// ask operator new, which the judge watches. It is more than that bound by the stacks of threads.
constexpr std::uint64_t kProcessBytes = std::uint64_t{64} << 20;

/// Has the system refuse this process more private memory than so much.
void bound_memory([[maybe_unused]] std::uint64_t more_bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line) && !line.starts_with("VmData:")) {
  }
  const std::uint64_t now = std::stoull(line.substr(line.find(':') + 1)) * 1024;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_DATA, &limit), 0);
  limit.rlim_cur = std::min(limit.rlim_max, now + more_bytes);
  ASSERT_EQ(::setrlimit(RLIMIT_DATA, &limit), 0);
#endif
}

using Expectation = void (*)(Judge&, const Harm&);

/// Every damage that is chosen, each sort in a process of its own. Returns how many there were.
std::uint64_t judge_all(Expectation expectation, std::size_t one_in, const Effort& effort,
                        bool bounds_memory, bool (*is_meant)(const Harm&) = nullptr) {
  const ScratchDirectory scratch(testing::Where::kMemory);
  const Specimen specimen(scratch / "specimen");
  const std::vector<Harms> all = all_harms(specimen);
  std::uint64_t done = 0;
  for (std::size_t sort = 0; sort < all.size(); ++sort) {
    const Harms& harms = all[sort];
    const std::size_t sample = (harms.sample + one_in - 1) / one_in;
    const Effort part = effort.one_of(all.size() - sort);
    const auto run = [&](Progress& progress) {
      Judge judge(specimen, scratch / "work");
      if (bounds_memory) bound_memory(kProcessBytes);
      for (const std::size_t number : chosen(harms, sample, part, sort)) {
        if (part.time_is_up()) return;
        const Harm harm = harms.make(number);
        if (is_meant != nullptr && !is_meant(harm)) continue;
        progress.begin(harm.label);
        expectation(judge, harm);
        if (progress.has_failed()) return;
      }
    };
    done += testing::run_watched(run).cases;
  }
  return done;
}

TEST(Damage, ReadingGivesTheRightBytesOrSaysWhatIsDamaged) {
  const Effort effort = Effort().one_of(3);
  const auto read = [](Judge& judge, const Harm& harm) { judge.expect_honest_reading(harm); };
  const std::uint64_t done = judge_all(read, kReadOneIn, effort, true);
  std::printf("damages: %llu (read and verified; seed %llu)\n",
              static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(effort.seed()));
  EXPECT_TRUE(done >= 20'000 / kReadOneIn || (effort.is_limited() && done > 0) || HasFailure());
}

TEST(Damage, RepairBringsBackWhatIsWholeAsItsDryRunSaid) {
  const Effort effort = Effort().one_of(2);
  const auto mend = [](Judge& judge, const Harm& harm) { judge.expect_mending(harm); };
  const std::uint64_t done = judge_all(mend, kMendOneIn, effort, false);
  std::printf("damages mended: %llu (seed %llu)\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(effort.seed()));
  EXPECT_GT(done, 0U);
}

TEST(Damage, SavesIntoADamagedStoreHarmNothingMore) {
  const Effort effort;
  const auto save = [](Judge& judge, const Harm& harm) { judge.expect_harmless_saving(harm); };
  const std::uint64_t done = judge_all(save, kSaveOneIn, effort, false, is_of_bytes);
  std::printf("damages before saves: %llu (seed %llu)\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(effort.seed()));
  EXPECT_GT(done, 0U);
}

}  // namespace
}  // namespace cairn::damage
