#include "reference.h"

#include "failure.h"
#include "text.h"

#include <cairn/retention.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

namespace cairn::cli {
namespace {

// The number that the word writes in its one usual form: "7", but not "07", "+7" or "".
std::optional<std::uint64_t> id_from(std::string_view word) {
  std::uint64_t id = 0;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), id);
  const bool usual = problem == std::errc() && end == word.data() + word.size() &&
                     (word == "0" || word.front() != '0');
  return usual ? std::optional<std::uint64_t>(id) : std::nullopt;
}

const CheckpointInfo* with_id(std::span<const CheckpointInfo> checkpoints, std::uint64_t id) {
  const auto it = std::find_if(checkpoints.begin(), checkpoints.end(),
                               [&](const CheckpointInfo& c) { return c.id == id; });
  return it == checkpoints.end() ? nullptr : &*it;
}

const CheckpointInfo* with_name(std::span<const CheckpointInfo> checkpoints,
                                std::string_view name) {
  const auto it = std::find_if(checkpoints.begin(), checkpoints.end(),
                               [&](const CheckpointInfo& c) { return c.name == name; });
  return it == checkpoints.end() ? nullptr : &*it;
}

const CheckpointInfo* find_best(std::span<const CheckpointInfo> checkpoints, std::string_view word,
                                std::vector<CheckpointInfo>& found) {
  const bool smallest = word.starts_with("best:min:");
  if (!smallest && !word.starts_with("best:max:")) {
    throw UsageError(quote(word) + " must be best:min:KEY or best:max:KEY");
  }
  const std::string key(word.substr(std::string_view("best:min:").size()));
  if (key.empty()) throw UsageError(quote(word) + " lacks a metadata key");
  found = select_checkpoints(checkpoints, {.max_key = smallest ? std::string() : key,
                                           .min_key = smallest ? key : std::string(),
                                           .max_num_checkpoints = 1});
  return found.empty() ? nullptr : &found.front();
}

const CheckpointInfo* find_number_or_name(std::span<const CheckpointInfo> checkpoints,
                                          std::string_view word) {
  const auto id = id_from(word);
  const CheckpointInfo* by_id = id ? with_id(checkpoints, *id) : nullptr;
  const CheckpointInfo* by_name = with_name(checkpoints, word);
  if (by_id != nullptr && by_name != nullptr && by_id != by_name) {
    throw Failure(kFailed,
                  fmt::format("{0} is the id of checkpoint {1} and the name of checkpoint {2}; "
                              "write id:{0} or name:{0}",
                              word, quote(by_id->name), by_name->id));
  }
  return by_id != nullptr ? by_id : by_name;
}

std::optional<CheckpointInfo> try_find(std::span<const CheckpointInfo> checkpoints,
                                       std::string_view word) {
  std::vector<CheckpointInfo> best;
  const CheckpointInfo* found = nullptr;
  if (word.empty()) throw UsageError("the name of a checkpoint is empty");
  if (word == "latest") {
    found = checkpoints.empty() ? nullptr : &checkpoints.front();
  } else if (word.starts_with("best:")) {
    found = find_best(checkpoints, word, best);
  } else if (word.starts_with("id:")) {
    const auto id = id_from(word.substr(3));
    if (!id) throw UsageError(quote(word) + " must be id:N with a whole number N");
    found = with_id(checkpoints, *id);
  } else if (word.starts_with("name:")) {
    found = with_name(checkpoints, word.substr(5));
  } else {
    found = find_number_or_name(checkpoints, word);
  }
  return found != nullptr ? std::optional<CheckpointInfo>(*found) : std::nullopt;
}

[[noreturn]] void fail_absent(std::span<const CheckpointInfo> checkpoints,
                              std::span<const std::string> words) {
  std::string message = "no such checkpoint:";
  constexpr std::size_t kMaxListed = 10;
  for (const std::string& word : words.first(std::min(words.size(), kMaxListed))) {
    message += " " + quote(word);
  }
  if (words.size() > kMaxListed) {
    message += fmt::format(" and {} more", words.size() - kMaxListed);
  }
  if (checkpoints.empty()) {
    message += "; the store holds none";
  } else {
    std::vector<std::string_view> names;
    for (const CheckpointInfo& checkpoint : checkpoints) names.push_back(checkpoint.name);
    const std::string_view meant = nearest(words.front(), names);
    message += meant.empty() ? "; cairn ls lists them" : "; did you mean " + quote(meant) + "?";
  }
  throw Failure(kNoSuchCheckpoint, message);
}

}  // namespace

CheckpointInfo find_checkpoint(std::span<const CheckpointInfo> checkpoints, std::string_view word) {
  if (auto found = try_find(checkpoints, word)) return *std::move(found);
  const std::string absent(word);
  fail_absent(checkpoints, {&absent, 1});
}

std::vector<CheckpointInfo> find_checkpoints(std::span<const CheckpointInfo> checkpoints,
                                             std::span<const std::string> words) {
  std::vector<CheckpointInfo> found;
  std::vector<std::string> absent;
  for (const std::string& word : words) {
    auto one = try_find(checkpoints, word);
    if (!one) {
      absent.push_back(word);
    } else if (with_id(found, one->id) == nullptr) {
      found.push_back(*std::move(one));
    }
  }
  if (!absent.empty()) fail_absent(checkpoints, absent);
  return found;
}

std::vector<std::uint64_t> ids_of(std::span<const CheckpointInfo> checkpoints) {
  std::vector<std::uint64_t> ids;
  ids.reserve(checkpoints.size());
  for (const CheckpointInfo& checkpoint : checkpoints) ids.push_back(checkpoint.id);
  return ids;
}

}  // namespace cairn::cli
