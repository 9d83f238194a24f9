#include "node/control/cli.hpp"

int main(int argc, char** argv) { return skald::node::run_cli(argc, argv); }
