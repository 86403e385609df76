#include "peers.h"

#include <array>
#include <fcntl.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace cairn::bench {

Peers::Peers(const std::filesystem::path& python, const std::filesystem::path& directory,
             std::uint64_t bytes) {
  std::array<int, 2> questions{};
  std::array<int, 2> answers{};
  if (::pipe2(questions.data(), O_CLOEXEC) != 0 || ::pipe2(answers.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe to the peers");
  }
  const std::string script = CAIRN_SOURCE_DIR "/bench/peers/peers.py";
  const std::string length = std::to_string(bytes);
  process_ = ::fork();
  if (process_ == 0) {
    ::dup2(questions[0], STDIN_FILENO);
    ::dup2(answers[1], STDOUT_FILENO);
    ::execl(python.c_str(), python.c_str(), script.c_str(), length.c_str(), directory.c_str(),
            nullptr);
    ::_exit(127);
  }
  ::close(questions[0]);
  ::close(answers[1]);
  to_ = ::fdopen(questions[1], "w");
  from_ = ::fdopen(answers[0], "r");
  std::istringstream words(read_line());
  std::string word;
  words >> word;
  if (word != "ready") throw std::runtime_error("the peers' process did not start");
  while (std::getline(words >> std::ws, word, ',')) names_.push_back(word);
}

Peers::~Peers() {
  if (to_ != nullptr) std::fclose(to_);
  if (from_ != nullptr) std::fclose(from_);
  if (process_ > 0) ::waitpid(process_, nullptr, 0);
}

std::string Peers::read_line() const {
  std::string line;
  for (int c = std::fgetc(from_); c != '\n'; c = std::fgetc(from_)) {
    if (c == EOF) throw std::runtime_error("the peers' process ended");
    line += static_cast<char>(c);
  }
  return line;
}

double Peers::ask(const char* verb, const std::string& name) const {
  std::fprintf(to_, "%s %s\n", verb, name.c_str());
  std::fflush(to_);
  return std::stod(read_line());
}

}  // namespace cairn::bench
