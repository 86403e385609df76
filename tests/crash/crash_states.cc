#include "crash/crash_states.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace cairn::crash {
namespace {

/// Of a file that is gone: anything but zeros.
std::byte old_byte(std::uint64_t at) {
  return static_cast<std::byte>((at * 0x9e3779b97f4a7c15U >> 56U) | 1U);
}

}  // namespace

Disk::Disk(NameRule rule, std::function<bool(std::string_view)> settled)
    : rule_(rule), settled_(std::move(settled)) {}

// ---- what events do
// -----------------------------------------------------------------------------

void Disk::apply(const Event& event) {
  grouped_ = false;
  const Place place{event.directory, event.name};
  switch (event.kind) {
    case EventKind::kMakeDirectory:
      directories_.insert(event.node);
      change_name({.to = place, .node = event.node, .is_new = true});
      break;
    case EventKind::kCreate:
      files_[event.node].settled = settled_ && settled_(event.name);
      change_name({.to = place, .node = event.node, .is_new = true});
      break;
    case EventKind::kRename:
      change_name({.from = place,
                   .to = Place{event.to_directory, event.to_name},
                   .node = seen_names_.at(place)});
      break;
    case EventKind::kUnlink:
      change_name({.from = place, .node = seen_names_.at(place)});
      break;
    case EventKind::kSyncDirectory:
      sync_names_in(event.node);
      break;
    case EventKind::kWrite: {
      File& file = files_.at(event.node);
      add_write(file, event.offset, event.bytes, event.data.data());
      if (event.offset + event.bytes > file.seen_bytes) {
        add_length(file, event.offset + event.bytes);
      }
      break;
    }
    case EventKind::kTruncate: {
      File& file = files_.at(event.node);
      // Should the file grow again, what was cut off reads as zeros.
      if (event.bytes < file.seen_bytes) {
        add_write(file, event.bytes, file.seen_bytes - event.bytes, nullptr);
      }
      if (event.bytes != file.seen_bytes) add_length(file, event.bytes);
      break;
    }
    case EventKind::kPunch: {
      File& file = files_.at(event.node);
      const std::uint64_t end = std::min(event.offset + event.bytes, file.seen_bytes);
      if (end > event.offset) add_write(file, event.offset, end - event.offset, nullptr);
      break;
    }
    case EventKind::kSync:
      sync(event.node);
      break;
    case EventKind::kSyncRange:
      sync_range(files_.at(event.node), event.offset, event.offset + event.bytes);
      break;
    case EventKind::kNote:
      break;
  }
  if (const auto file = files_.find(event.node); file != files_.end() && file->second.settled) {
    sync(event.node);
  }
  ++events_;
}

void Disk::add_write(File& file, std::uint64_t offset, std::uint64_t bytes,
                     const std::byte* data) const {
  if (bytes == 0) return;
  file.writes.push_back({.offset = offset, .bytes = bytes, .data = data, .event = events_});
}

void Disk::add_length(File& file, std::uint64_t bytes) const {
  file.seen_bytes = bytes;
  file.lengths.push_back({.bytes = bytes, .event = events_});
}

void Disk::change_name(NameChange change) {
  change.event = events_;
  carry_out(change, seen_names_);
  changes_.push_back(std::move(change));
}

void Disk::carry_out(const NameChange& change, Names& names) {
  if (change.from) {
    // When an earlier change is missing, another file may stand there, or none.
    const auto at = names.find(*change.from);
    if (at != names.end() && at->second == change.node) names.erase(at);
  }
  if (change.to) names[*change.to] = change.node;
}

void Disk::lay(const Write& write, std::uint64_t begin, std::uint64_t end, Bytes& over) {
  begin = std::max(begin, write.offset);
  end = std::min(end, write.offset + write.bytes);
  if (begin >= end) return;
  if (over.size() < end) over.resize(end);
  if (write.data == nullptr) {
    std::memset(over.data() + begin, 0, end - begin);
  } else {
    std::memcpy(over.data() + begin, write.data + (begin - write.offset), end - begin);
  }
}

void Disk::sync(Node node) {
  const auto at = files_.find(node);
  if (at == files_.end()) return;
  File& file = at->second;
  for (const Write& write : file.writes) {
    lay(write, write.offset, write.offset + write.bytes, file.bytes);
  }
  file.bytes.resize(file.seen_bytes);
  file.writes.clear();
  file.lengths.clear();
  if (rule_ == NameRule::kStrict || file.settled) return;
  for (std::size_t i = changes_.size(); i-- > 0;) {
    if (changes_[i].node != node || !changes_[i].is_new) continue;
    keep_names(i + 1);
    return;
  }
}

void Disk::sync_range(File& file, std::uint64_t begin, std::uint64_t end) {
  std::vector<Write> rest;
  for (const Write& write : file.writes) {
    lay(write, begin, end, file.bytes);
    const std::uint64_t write_end = write.offset + write.bytes;
    if (write.offset < begin) {
      rest.push_back(write);
      rest.back().bytes = std::min(write_end, begin) - write.offset;
    }
    if (write_end > end) {
      const std::uint64_t from = std::max(write.offset, end);
      rest.push_back(write);
      rest.back().offset = from;
      rest.back().bytes = write_end - from;
      if (write.data != nullptr) rest.back().data = write.data + (from - write.offset);
    }
  }
  file.writes = std::move(rest);
  const bool needs_length = std::any_of(file.lengths.begin(), file.lengths.end(),
                                        [&](const Length& length) { return length.bytes >= end; });
  if (needs_length) {
    file.lengths.clear();
    file.bytes.resize(file.seen_bytes);
  }
}

void Disk::sync_names_in(Node directory) {
  const auto is_in = [&](const NameChange& change) {
    return (change.from && change.from->first == directory) ||
           (change.to && change.to->first == directory);
  };
  if (rule_ == NameRule::kExt4) {
    for (std::size_t i = changes_.size(); i-- > 0;) {
      if (!is_in(changes_[i])) continue;
      keep_names(i + 1);
      return;
    }
    return;
  }
  std::vector<NameChange> rest;
  for (NameChange& change : changes_) {
    if (is_in(change)) {
      carry_out(change, names_);
    } else {
      rest.push_back(std::move(change));
    }
  }
  changes_ = std::move(rest);
}

void Disk::keep_names(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) carry_out(changes_[i], names_);
  changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count));
}

// ---- what may be there
// --------------------------------------------------------------------------

void Disk::group() const {
  if (grouped_) return;
  groups_.clear();
  first_unit_.clear();
  unit_count_ = 0;
  const auto add = [&](std::size_t count, std::size_t event) {
    groups_.push_back({.first = unit_count_, .count = count, .event = event});
    unit_count_ += count;
  };
  for (const auto& [node, file] : files_) {
    first_unit_[node] = unit_count_;
    for (const Write& write : file.writes) {
      const std::uint64_t first = write.offset / kSectorBytes;
      const std::uint64_t last = (write.offset + write.bytes - 1) / kSectorBytes;
      add(write.bytes == 0 ? 0 : last - first + 1, write.event);
    }
    for (const Length& length : file.lengths) add(1, length.event);
  }
  first_name_unit_ = unit_count_;
  for (const NameChange& change : changes_) add(1, change.event);
  std::stable_sort(groups_.begin(), groups_.end(),
                   [](const Group& a, const Group& b) { return a.event < b.event; });
  grouped_ = true;
}

const std::vector<Disk::Group>& Disk::groups() const {
  group();
  return groups_;
}

std::size_t Disk::unit_count() const {
  group();
  return unit_count_;
}

Bytes Disk::contents(Node node, const Choice& choice, NewBlocks blocks) const {
  const File& file = files_.at(node);
  Bytes bytes = file.bytes;
  std::uint64_t length = bytes.size();
  if (blocks == NewBlocks::kOldBytes) {
    for (const Write& write : file.writes) {
      const std::uint64_t begin = std::max(write.offset, length);
      const std::uint64_t end = write.offset + write.bytes;
      if (write.data == nullptr || begin >= end) continue;
      if (bytes.size() < end) bytes.resize(end);
      for (std::uint64_t at = begin; at < end; ++at) bytes[at] = old_byte(at);
    }
  }
  std::size_t unit = first_unit_.at(node);
  for (const Write& write : file.writes) {
    std::uint64_t at = write.offset;
    const std::uint64_t end = write.offset + write.bytes;
    while (at < end) {
      const std::uint64_t sector_end = std::min(end, (at / kSectorBytes + 1) * kSectorBytes);
      if (choice[unit++]) lay(write, at, sector_end, bytes);
      at = sector_end;
    }
  }
  for (const Length& change : file.lengths) {
    if (choice[unit++]) length = change.bytes;
  }
  bytes.resize(length);
  return bytes;
}

Tree Disk::state(const Choice& choice, NewBlocks blocks) const {
  group();
  Names names = names_;
  for (std::size_t i = 0; i < changes_.size(); ++i) {
    const bool there = choice[first_name_unit_ + i];
    if (!there && rule_ == NameRule::kExt4) break;
    if (there) carry_out(changes_[i], names);
  }
  Tree tree;
  const std::function<void(Node, const std::string&)> visit = [&](Node directory,
                                                                  const std::string& prefix) {
    for (auto at = names.lower_bound({directory, ""});
         at != names.end() && at->first.first == directory; ++at) {
      const std::string path = prefix + at->first.second;
      if (directories_.contains(at->second)) {
        tree.directories.insert(path);
        visit(at->second, path + "/");
      } else {
        tree.files[path] = contents(at->second, choice, blocks);
      }
    }
  };
  visit(kTop, "");
  return tree;
}

// ---- which to look at
// ---------------------------------------------------------------------------

namespace {

class Chooser {
 public:
  Chooser(const Disk& disk, std::mt19937_64& random)
      : groups_(disk.groups()), units_(disk.unit_count()), random_(random) {}

  std::size_t count() const { return choices_.size(); }
  std::vector<Choice> take() && { return std::move(choices_); }

  void every_choice_of_units() {
    for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << units_); ++bits) {
      Choice choice(units_);
      for (std::size_t unit = 0; unit < units_; ++unit) choice[unit] = (bits >> unit & 1) != 0;
      choices_.push_back(std::move(choice));
    }
  }

  void every_choice_of_groups() {
    for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << groups_.size()); ++bits) {
      Choice choice(units_);
      for (std::size_t i = 0; i < groups_.size(); ++i) {
        if ((bits >> i & 1) != 0) set(choice, groups_[i], true);
      }
      choices_.push_back(std::move(choice));
    }
  }

  void none_and_all() {
    choices_.push_back(Choice(units_, false));
    choices_.push_back(Choice(units_, true));
  }

  void one_missing_one_only_prefixes() {
    Choice prefix(units_, false);
    for (const Disk::Group& group : groups_) {
      Choice missing(units_, true);
      set(missing, group, false);
      choices_.push_back(std::move(missing));
      Choice only(units_, false);
      set(only, group, true);
      choices_.push_back(std::move(only));
      set(prefix, group, true);
      choices_.push_back(prefix);
    }
  }

  void torn() {
    for (const Disk::Group& group : groups_) {
      if (group.count < 2) continue;
      for (const bool others : {false, true}) {
        for (const std::size_t cut : {std::size_t{1}, group.count / 2, group.count - 1}) {
          for (const bool head : {false, true}) {
            Choice choice(units_, others);
            for (std::size_t i = 0; i < group.count; ++i)
              choice[group.first + i] = (i < cut) == head;
            choices_.push_back(std::move(choice));
          }
        }
        const std::size_t sector = group.first + random_() % group.count;
        for (const bool there : {false, true}) {
          Choice choice(units_, others);
          set(choice, group, !there);
          choice[sector] = there;
          choices_.push_back(std::move(choice));
        }
      }
    }
  }

  /// Each group there, not there, or torn anyhow.
  void random(std::size_t count) {
    for (std::size_t n = 0; n < count; ++n) {
      Choice choice(units_);
      for (const Disk::Group& group : groups_) {
        const auto fate = random_() % 3;
        for (std::size_t i = 0; i < group.count; ++i) {
          choice[group.first + i] = fate == 2 ? random_() % 2 != 0 : fate != 0;
        }
      }
      choices_.push_back(std::move(choice));
    }
  }

  void keep_at_most(std::size_t count) {
    if (choices_.size() <= count) return;
    std::shuffle(choices_.begin(), choices_.end(), random_);
    choices_.resize(count - 2);
    none_and_all();
  }

 private:
  static void set(Choice& choice, const Disk::Group& group, bool there) {
    for (std::size_t i = 0; i < group.count; ++i) choice[group.first + i] = there;
  }

  const std::vector<Disk::Group>& groups_;
  std::size_t units_;
  std::mt19937_64& random_;
  std::vector<Choice> choices_;
};

}  // namespace

Choices choices(const Disk& disk, const Thoroughness& how, std::mt19937_64& random) {
  Chooser chooser(disk, random);
  const bool all = disk.unit_count() <= how.exhaustive_units;
  if (all) {
    chooser.every_choice_of_units();
  } else {
    if (disk.groups().size() <= how.exhaustive_groups) {
      chooser.every_choice_of_groups();
    } else {
      chooser.none_and_all();
      chooser.one_missing_one_only_prefixes();
    }
    chooser.torn();
    chooser.random(how.samples);
  }
  const bool is_exhaustive = all && chooser.count() <= how.at_most;
  chooser.keep_at_most(how.at_most);
  return {.list = std::move(chooser).take(), .is_exhaustive = is_exhaustive};
}

}  // namespace cairn::crash
