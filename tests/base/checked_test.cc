#include "base/checked.h"

#include <gtest/gtest.h>

#include <limits>

namespace cairn::base {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST(Checked, SumsAndProductsThatFitAreGiven) {
  EXPECT_EQ(checked_add(kMax - 1, 1), kMax);
  EXPECT_EQ(checked_multiply(kMax / 3, 3), kMax);
}

TEST(Checked, SumsAndProductsThatOverflowAreNothing) {
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_multiply(std::uint64_t{1} << 32, std::uint64_t{1} << 32), std::nullopt);
}

TEST(Checked, ARangeMayEndAtTheLimitAndNotBehindIt) {
  EXPECT_TRUE(range_fits(4, 6, 10));
  EXPECT_TRUE(range_fits(10, 0, 10));
  EXPECT_FALSE(range_fits(4, 7, 10));
  EXPECT_FALSE(range_fits(11, 0, 10));
}

TEST(Checked, ARangeWhoseEndOverflowsDoesNotFit) {
  EXPECT_FALSE(range_fits(kMax, 2, kMax));
  EXPECT_FALSE(range_fits(2, kMax, kMax));
}

TEST(Checked, RoundsUpToTheNextMultiple) {
  EXPECT_EQ(round_up(0, 4096), 0u);
  EXPECT_EQ(round_up(1, 4096), 4096u);
  EXPECT_EQ(round_up(4096, 4096), 4096u);
  EXPECT_EQ(round_up(4097, 4096), 8192u);
}

}  // namespace
}  // namespace cairn::base
