// Timing of contenders that take turns: each round runs all of them once, so that whatever else the
// machine does meanwhile falls on all alike. Ratios are taken round by round; what is printed is
// their median. Google Benchmark runs one benchmark to its end before the next, which on a shared
// disk compares two moments rather than two programs.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::bench {

/// Seconds that `work` takes.
double seconds_of(const std::function<void()>& work);

double median(std::vector<double> values);
/// The value below which `share` of the values lie.
double quantile(std::vector<double> values, double share);

/// One of the things that a row compares. `run` does its own setting up and returns the seconds of
/// the part that counts.
struct Contender {
  std::string name{};
  std::function<double()> run{};
  std::uint64_t bytes = 0;  // what GB/s refer to; 0: no rate is printed
};

struct Samples {
  std::string name{};
  std::uint64_t bytes = 0;
  std::vector<double> seconds{};
};

/// A figure that the row is about, beside what was aimed at.
struct Verdict {
  std::string what{};
  double value = 0;
  std::string unit{};    // "x", "us", ...; printed behind the value
  std::string target{};  // as a person reads it, e.g. ">= 0.85"; empty: stated only
  bool reached = true;
};

struct Row {
  std::string number{};
  std::string title{};
  std::string conditions{};
  std::vector<Samples> samples{};
  std::vector<Verdict> verdicts{};

  const std::vector<double>& of(std::string_view name) const;
  bool has(std::string_view name) const;

  /// Median over the rounds that `name` ran of `combine(i)`, where i is a round.
  double median_of(std::string_view name, const std::function<double(std::size_t)>& combine) const;
  /// How many times as fast `name` is as `other`: above 1 is faster.
  double speed(std::string_view name, std::string_view other) const;

  void at_least(std::string what, double value, double target, std::string unit = "x");
  void at_most(std::string what, double value, double target, std::string unit = "x");
  void state(std::string what, double value, std::string unit);
};

/// Runs the contenders in turn, each round beginning with another one, and keeps the times in the
/// row. The first `warm_up` rounds do not count.
void take_turns(Row& row, std::vector<Contender> contenders, int rounds, int warm_up = 1);

void print(std::ostream& out, const Row& row);
std::string to_json(const std::vector<Row>& rows, std::string_view machine);

}  // namespace cairn::bench
