#include "peers.h"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace cairn::bench {

PeerProcess::PeerProcess(const std::vector<std::string>& command,
                         const std::filesystem::path& directory, std::uint64_t bytes) {
  std::vector<std::string> words = command;
  words.push_back(std::to_string(bytes));
  words.push_back(directory.native());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::array<int, 2> questions{};
  std::array<int, 2> answers{};
  if (::pipe2(questions.data(), O_CLOEXEC) != 0 || ::pipe2(answers.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe to the peers");
  }
  process_ = ::fork();
  if (process_ == 0) {
    ::dup2(questions[0], STDIN_FILENO);
    ::dup2(answers[1], STDOUT_FILENO);
    ::execv(arguments.front(), arguments.data());
    ::_exit(127);
  }
  ::close(questions[0]);
  ::close(answers[1]);
  to_ = ::fdopen(questions[1], "w");
  from_ = ::fdopen(answers[0], "r");
  std::istringstream answer(read_line());
  std::string word;
  answer >> word;
  if (word != "ready") throw std::runtime_error("a process of peers did not start");
  while (std::getline(answer >> std::ws, word, ',')) names_.push_back(word);
}

PeerProcess::~PeerProcess() {
  if (to_ != nullptr) std::fclose(to_);
  if (from_ != nullptr) std::fclose(from_);
  if (process_ > 0) ::waitpid(process_, nullptr, 0);
}

std::string PeerProcess::read_line() const {
  std::string line;
  for (int c = std::fgetc(from_); c != '\n'; c = std::fgetc(from_)) {
    if (c == EOF) throw std::runtime_error("a process of peers ended");
    line += static_cast<char>(c);
  }
  return line;
}

double PeerProcess::ask(const char* verb, const std::string& name) const {
  std::fprintf(to_, "%s %s\n", verb, name.c_str());
  std::fflush(to_);
  return std::stod(read_line());
}

void Peers::start(const std::vector<std::string>& command, const std::filesystem::path& directory,
                  std::uint64_t bytes) {
  processes_.push_back(std::make_unique<PeerProcess>(command, directory, bytes));
  const auto& names = processes_.back()->names();
  names_.insert(names_.end(), names.begin(), names.end());
}

double Peers::ask(const char* verb, const std::string& name) const {
  for (const auto& process : processes_) {
    const auto& names = process->names();
    if (std::find(names.begin(), names.end(), name) != names.end()) return process->ask(verb, name);
  }
  throw std::runtime_error("there is no peer named " + name);
}

}  // namespace cairn::bench
