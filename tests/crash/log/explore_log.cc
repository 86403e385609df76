// Lays out the states that crashes may leave, by an event log that somebody else has written
// (event_log.h), one after another, for somebody else to judge: bench/peers/crash_peers.py does so
// for other ways to save.
//
//   explore_log LOG RULE REAL STATE [SEED]
//
// RULE is strict or ext4. REAL is the directory that the log tells of, as it stands now: if the log
// does not replay to it, something escaped whoever recorded it. Each state is written to STATE,
// then a line "legal N..." is printed, the saves that may be found in it by the log's notes ("begin
// N" and "done N"; 0: none yet), and a line on standard input lets it go on. At the end: "events N
// states N".
#include "crash/crash_states.h"
#include "crash/legal_states.h"
#include "crash/tree.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace cairn::crash {
namespace {

std::string read_text(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int run(const char* log_path, const std::string& rule_name, const char* real, const char* state,
        std::uint64_t seed) {
  if (rule_name != "strict" && rule_name != "ext4") {
    throw std::runtime_error("the rule for names is strict or ext4");
  }
  const EventLog log = from_text(read_text(log_path));
  if (replay(log) != read_tree(real, is_left_out)) {
    throw std::runtime_error("the log does not replay to the real files");
  }
  std::mt19937_64 random(seed);
  Disk disk(rule_name == "strict" ? NameRule::kStrict : NameRule::kExt4, is_advice);
  LegalStates legal_states;
  std::set<std::pair<base::Digest128, std::string>> seen;
  for (const Event& event : log) {
    disk.apply(event);
    legal_states.apply(event);
    std::string legal = "legal";
    for (const std::size_t number : legal_states.now().models)
      legal += " " + std::to_string(number);
    for (const Choice& choice : choices(disk, {}, random).list) {
      const Tree tree = disk.state(choice);
      if (!seen.emplace(digest_of(tree), legal).second) continue;
      write_tree(tree, state);
      std::cout << legal << std::endl;
      std::string answer;
      if (!std::getline(std::cin, answer)) throw std::runtime_error("nobody judges");
    }
  }
  std::cout << "events " << log.size() << " states " << seen.size() << std::endl;
  return 0;
}

}  // namespace
}  // namespace cairn::crash

int main(int count, char** arguments) {
  if (count != 5 && count != 6) {
    std::fputs("usage: explore_log LOG strict|ext4 REAL STATE [SEED]\n", stderr);
    return 2;
  }
  try {
    return cairn::crash::run(arguments[1], arguments[2], arguments[3], arguments[4],
                             count == 6 ? std::stoull(arguments[5]) : 1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "explore_log: %s\n", error.what());
    return 1;
  }
}
