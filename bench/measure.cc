#include "measure.h"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

namespace cairn::bench {

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) throw std::logic_error("no values to rank");
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

double median(std::vector<double> values) {
  return quantile(std::move(values), 0.5);
}

bool Row::has(std::string_view name) const {
  return std::any_of(samples.begin(), samples.end(),
                     [&](const Samples& one) { return one.name == name; });
}

const std::vector<double>& Row::of(std::string_view name) const {
  for (const Samples& one : samples) {
    if (one.name == name) return one.seconds;
  }
  throw std::logic_error("row " + number + " has no contender " + std::string(name));
}

double Row::median_of(std::string_view name,
                      const std::function<double(std::size_t)>& combine) const {
  std::vector<double> values;
  for (std::size_t i = 0; i < of(name).size(); ++i) values.push_back(combine(i));
  return median(std::move(values));
}

double Row::speed(std::string_view name, std::string_view other) const {
  return median_of(name, [&](std::size_t i) { return of(other).at(i) / of(name).at(i); });
}

void Row::at_least(std::string what, double value, double target, std::string unit) {
  verdicts.push_back({.what = std::move(what),
                      .value = value,
                      .unit = std::move(unit),
                      .target = fmt::format(">= {:g}", target),
                      .reached = value >= target});
}

void Row::at_most(std::string what, double value, double target, std::string unit) {
  verdicts.push_back({.what = std::move(what),
                      .value = value,
                      .unit = std::move(unit),
                      .target = fmt::format("<= {:g}", target),
                      .reached = value <= target});
}

void Row::state(std::string what, double value, std::string unit) {
  verdicts.push_back({.what = std::move(what), .value = value, .unit = std::move(unit)});
}

void take_turns(Row& row, std::vector<Contender> contenders, int rounds, int warm_up) {
  const std::size_t first = row.samples.size();
  for (const Contender& contender : contenders) {
    row.samples.push_back({.name = contender.name, .bytes = contender.bytes});
  }
  for (int round = -warm_up; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < contenders.size(); ++turn) {
      const std::size_t i = (turn + static_cast<std::size_t>(round + warm_up)) % contenders.size();
      const double seconds = contenders[i].run();
      if (!(seconds > 0)) throw std::runtime_error(contenders[i].name + ": no time was taken");
      if (round >= 0) row.samples[first + i].seconds.push_back(seconds);
    }
  }
}

namespace {

std::string time_text(double seconds) {
  if (seconds >= 1) return fmt::format("{:.2f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.2f} ms", seconds * 1e3);
  return fmt::format("{:.1f} us", seconds * 1e6);
}

std::string value_text(const Verdict& verdict) {
  return fmt::format("{:.3g} {}", verdict.value, verdict.unit);
}

}  // namespace

void print(std::ostream& out, const Row& row) {
  fmt::print(out, "\n{}. {}\n", row.number, row.title);
  if (!row.conditions.empty()) fmt::print(out, "   {}\n", row.conditions);
  for (const Samples& one : row.samples) {
    const double middle = median(one.seconds);
    const std::string spread = fmt::format("{} .. {}", time_text(quantile(one.seconds, 0.25)),
                                           time_text(quantile(one.seconds, 0.75)));
    const std::string rate =
        one.bytes == 0 ? ""
                       : fmt::format("{:6.2f} GB/s", static_cast<double>(one.bytes) / middle / 1e9);
    fmt::print(out, "   {:<46} {:>10}   {:<24} {}\n", one.name, time_text(middle), spread, rate);
  }
  for (const Verdict& verdict : row.verdicts) {
    fmt::print(out, "   {} {:<55} {:>12}  {}\n",
               verdict.target.empty() ? " "
               : verdict.reached      ? "+"
                                      : "-",
               verdict.what, value_text(verdict), verdict.target);
  }
  out.flush();
}

std::string to_json(const std::vector<Row>& rows, std::string_view machine) {
  nlohmann::ordered_json all;
  all["machine"] = machine;
  for (const Row& row : rows) {
    nlohmann::ordered_json one{
        {"row", row.number}, {"title", row.title}, {"conditions", row.conditions}};
    for (const Samples& samples : row.samples) {
      one["samples"].push_back({{"name", samples.name},
                                {"bytes", samples.bytes},
                                {"median_s", median(samples.seconds)},
                                {"seconds", samples.seconds}});
    }
    for (const Verdict& verdict : row.verdicts) {
      one["verdicts"].push_back({{"what", verdict.what},
                                 {"value", verdict.value},
                                 {"unit", verdict.unit},
                                 {"target", verdict.target},
                                 {"reached", verdict.reached}});
    }
    all["rows"].push_back(std::move(one));
  }
  return all.dump(2);
}

}  // namespace cairn::bench
