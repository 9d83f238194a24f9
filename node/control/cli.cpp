#include "node/control/cli.hpp"

#include "base/nearest.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <functional>
#include <memory>

namespace skald::node {
namespace {

// What the commands fill in; lives until the chosen one has run.
struct parsed {
  cli_context context;
  node_config config;
  dev_options dev;
  std::string config_file, text, second, dir = ".", cert_file, key_file, domain, server, tsig_file;
  std::vector<std::string> seeds, roles;
  bool flag = false;
  std::function<int()> chosen;
};

CLI::App* command(CLI::App& under, parsed& p, const char* name, const char* help, std::function<int()> what) {
  CLI::App* sub = under.add_subcommand(name, help);
  sub->callback([&p, what = std::move(what)] { p.chosen = what; });
  return sub;
}

// A command whose only business is to hold others.
CLI::App* group(CLI::App& app, const char* name, const char* help) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->require_subcommand(1);
  return sub;
}

std::vector<std::string> given(const CLI::App* app) {
  std::vector<std::string> out;
  for (const CLI::Option* o : app->get_options())
    if (o->count() > 0 && !o->get_lnames().empty()) {
      std::string name = o->get_lnames().front();
      std::replace(name.begin(), name.end(), '-', '_');
      out.push_back(std::move(name));
    }
  return out;
}

void add_run(CLI::App& app, parsed& p) {
  CLI::App* run = app.add_subcommand("run", "run a node; the bundle is all it needs");
  node_config& c = p.config;
  run->add_option("BUNDLE", c.bundle, "the node's bundle, NAME.pem (skald cert issue NAME)")->required();
  run->add_option("--state", c.state_dir, "state directory [/var/lib/skald/NAME as root, else ~/.local/state/skald/NAME]");
  run->add_option("--address", c.addresses, "IP address to serve on; repeatable [those of the default routes]")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  run->add_option("--advertise", c.advertise, "IP address to show outside (1:1 NAT)");
  run->add_option("--sip-port", c.sip_port, "SIP over UDP and TCP [5060]")->check(CLI::Range(1, 65535));
  run->add_option("--sips-port", c.sips_port, "SIP over TLS [5061]")->check(CLI::Range(1, 65535));
  run->add_option("--overlay-port", c.overlay_port, "overlay, UDP [4260]")->check(CLI::Range(1, 65535));
  run->add_option("--link-port", c.link_port, "links between nodes, TCP [4260]")->check(CLI::Range(1, 65535));
  run->add_option("--dns-port", c.dns_port, "DNS, UDP and TCP, for the role dns [53]")->check(CLI::Range(1, 65535));
  run->add_option("--workers", c.workers, "worker threads [one for each core]")->check(CLI::Range(1, 16));
  run->add_option("--zone", c.zone, "failure zone, such as a rack or a site [one zone]");
  run->add_option("--capacity", c.capacity, "relative capacity [100]")->check(CLI::Range(1, 65535));
  run->add_option("--roles", c.roles, "roles to claim, comma separated; auto: those that too few nodes hold (skald set roles.min) [all permitted]")->delimiter(',');
  run->add_option("--seed", c.seeds, "HOST:PORT of a node to join by; repeatable [DNS, then the bundle's]")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  run->add_flag("--found", c.found, "begin the cluster alone, even with a bundle that is not the founder's");
  run->add_option("--peer-ca", c.peer_ca, "PEM file: CAs of the trusted peers that are named by TLS name [those of the machine]");
  run->add_option("--control", c.control, "path of the control socket [STATE/control.sock]");
  run->add_option("--memory-mb", c.memory_mb, "memory that the node may use, in MiB; above 90 % registrations are turned away [3/4 of what there is]");
  run->add_option("--metrics", c.metrics, "IP:PORT for Prometheus over TCP [control socket only]");
  run->add_option("--log-level", c.log_level, "debug, info, warning or error [info]");
  run->add_option("--config", p.config_file, "JSON file with the same keys (comments allowed); flags win");
  run->callback([&p, run] { p.chosen = [&p, run] { return cmd_run(p.context, p.config, p.config_file, given(run)); }; });
}

void add_certificates(CLI::App& app, parsed& p) {
  CLI::App* cluster = group(app, "cluster", "the cluster's certificate authority");
  CLI::App* init = command(*cluster, p, "init", "make a cluster's CA in this directory", [&p] { return cmd_cluster_init(p.context, p.text, p.dir); });
  init->add_option("DOMAIN", p.text, "the SIP domain, such as example.com")->required();
  init->add_option("--dir", p.dir, "directory of the CA [.]");
  CLI::App* cert = group(app, "cert", "node bundles");
  CLI::App* issue = command(*cert, p, "issue", "make NAME.pem, all that a new node needs", [&p] { return cmd_cert_issue(p.context, p.text, p.dir, p.seeds, p.roles); });
  issue->add_option("NAME", p.text, "the node's name, the first label of its DNS name")->required();
  issue->add_option("--seed", p.seeds, "HOST:PORT of a node to join by; repeatable")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  issue->add_option("--role", p.roles, "a role to permit; repeatable [all]")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  issue->add_option("--dir", p.dir, "directory of the CA [.]");
  CLI::App* renew = command(*cert, p, "renew", "a new certificate for the key of a bundle; its node takes it while it runs", [&p] { return cmd_cert_renew(p.context, p.text, p.dir, p.cert_file); });
  renew->add_option("NAME", p.text, "the node's name")->required();
  renew->add_option("--bundle", p.cert_file, "the bundle to renew [NAME.pem beside the CA]");
  renew->add_option("--dir", p.dir, "directory of the CA [.]");
  CLI::App* revoke = command(app, p, "revoke", "cut a node off for good: its certificates are worth nothing from now on", [&p] { return cmd_revoke(p.context, p.text, p.dir, p.cert_file); });
  CLI::Option* whom = revoke->add_option("NAME", p.text, "the node's name; where the CA is");
  revoke->add_option("--dir", p.dir, "directory of the CA [.]");
  revoke->add_option("--crl", p.cert_file, "hand this list, made before, to a node")->excludes(whom);
  CLI::App* show = command(*cert, p, "show", "explain a bundle or certificate", [&p] { return cmd_cert_show(p.context, p.text); });
  show->add_option("FILE", p.text, "NAME.pem")->required();
  CLI::App* tls = group(app, "tls", "the certificate that phones see");
  CLI::App* set = command(*tls, p, "set", "give the whole cluster a public certificate", [&p] { return cmd_tls_set(p.context, p.cert_file, p.key_file, p.domain); });
  set->add_option("--cert", p.cert_file, "certificate chain, PEM")->required();
  set->add_option("--key", p.key_file, "private key, PEM")->required();
  set->add_option("--domain", p.domain, "the domain it is for [the cluster's]");
  CLI::App* unset = command(*tls, p, "unset", "go back to the nodes' own certificates", [&p] { return cmd_tls_unset(p.context, p.domain); });
  unset->add_option("--domain", p.domain, "the domain it was for [the cluster's]");
  command(*tls, p, "status", "what each node shows to phones", [&p] { return cmd_tls_status(p.context); });
}

void add_queries(CLI::App& app, parsed& p) {
  command(app, p, "members", "the nodes of the cluster", [&p] { return cmd_members(p.context); });
  command(app, p, "owner", "who owns an address of record, and who has copies", [&p] { return cmd_owner(p.context, p.text); })
      ->add_option("AOR", p.text, "user@domain")->required();
  command(app, p, "registrations", "bindings of one address of record, or all", [&p] { return cmd_registrations(p.context, p.text); })
      ->add_option("AOR", p.text, "user@domain");
  command(app, p, "calls", "calls in progress", [&p] { return cmd_calls(p.context); });
  CLI::App* roles = app.add_subcommand("roles", "roles: known, permitted, claimed");
  roles->callback([&p, roles] {
    if (roles->get_subcommands().empty()) p.chosen = [&p] { return cmd_roles(p.context); };
  });
  command(*roles, p, "set", "claim these roles from now on; they hold after a restart too, until --roles or the configuration file says something else than now", [&p] { return cmd_roles_set(p.context, p.roles); })
      ->add_option("ROLES", p.roles, "role names, comma separated; auto; or configured: what --roles or the configuration file says")->required()->delimiter(',');
  command(app, p, "status", "how this node does", [&p] { return cmd_status(p.context); });
  command(app, p, "partitions", "partitions that may miss something, and whom they wait for", [&p] { return cmd_partitions(p.context, p.flag); })
      ->add_flag("--accept-loss", p.flag, "dead nodes do not come back: what they alone may hold is given up, and named");
  command(app, p, "leave", "leave the cluster and stop", [&p] { return cmd_leave(p.context); });
  command(app, p, "base", "the members that majorities are counted by", [&p] { return cmd_base(p.context, p.flag); })
      ->add_flag("--accept", p.flag, "more than half are gone for good: whoever is here is the cluster from now on (what only the others hold is given up)");
  command(app, p, "drain", "take nothing new, wait until the calls here have ended, then leave; progress is shown", [&p] { return cmd_drain(p.context); });
  command(app, p, "version", "version of this program", [&p] { return cmd_version(p.context); });
  command(app, p, "metrics", "metrics of this node, Prometheus text", [&p] { return cmd_metrics(p.context); });
  CLI::App* set = app.add_subcommand("set", "show or change cluster settings");
  set->add_option("KEY", p.text, "the setting");
  CLI::Option* value = set->add_option("VALUE", p.second, "its new value; an empty text gives back the default");
  set->callback([&p, value] { p.chosen = [&p, value] { return cmd_set(p.context, p.text, p.second, value->count() > 0); }; });

  CLI::App* dns = app.add_subcommand("dns", "DNS records: wanted beside published");
  dns->add_flag("--setup", p.flag, "print what the parent zone or a DNS server needs");
  dns->callback([&p, dns] {
    if (dns->get_subcommands().empty()) p.chosen = [&p] { return cmd_dns(p.context, p.flag); };
  });
  CLI::App* dns_set = command(*dns, p, "set", "publish to this DNS server", [&p] { return cmd_dns_set(p.context, p.server, p.tsig_file); });
  dns_set->add_option("--server", p.server, "IP:PORT of the primary server")->required();
  dns_set->add_option("--tsig-file", p.tsig_file, "key file as tsig-keygen or keymgr writes it");
  CLI::App* config = group(app, "config", "configuration files");
  command(*config, p, "check", "check a configuration file", [&p] { return cmd_config_check(p.context, p.text); })
      ->add_option("FILE", p.text, "JSON file")->required();
}

void add_users(CLI::App& app, parsed& p) {
  CLI::App* user = group(app, "user", "subscribers");
  for (const bool must_exist : {false, true}) {
    CLI::App* sub = command(*user, p, must_exist ? "passwd" : "add", must_exist ? "change a subscriber's password" : "add a subscriber",
                            [&p, must_exist] { return cmd_user_add(p.context, p.text, p.flag, must_exist); });
    sub->add_option("AOR", p.text, "user@domain")->required();
    sub->add_flag("--password-stdin", p.flag, "read the password from standard input [ask on the terminal]");
  }
  command(*user, p, "del", "delete a subscriber", [&p] { return cmd_user_del(p.context, p.text); })
      ->add_option("AOR", p.text, "user@domain")->required();
  command(*user, p, "list", "list subscribers", [&p] { return cmd_user_list(p.context); });
  CLI::App* alias = group(*user, "alias", "further addresses of a subscriber");
  for (const bool add : {true, false}) {
    CLI::App* sub = command(*alias, p, add ? "add" : "del", add ? "let a subscriber be called by, and present, another address" : "take an alias from a subscriber",
                            [&p, add] { return cmd_user_alias(p.context, p.text, p.second, add ? alias_change::add : alias_change::remove); });
    sub->add_option("AOR", p.text, "the subscriber, user@domain")->required();
    sub->add_option("ALIAS", p.second, "the other address, user@domain")->required();
  }
  command(*alias, p, "list", "list a subscriber's aliases", [&p] { return cmd_user_alias_list(p.context, p.text); })
      ->add_option("AOR", p.text, "user@domain")->required();
  command(*user, p, "import", "add many: CSV with a header line aor,password or aor,ha1-md5[,ha1-sha256]",
          [&p] { return cmd_user_import(p.context, p.text); })
      ->add_option("FILE", p.text, "the file; - for standard input")->required();
}

void add_dev(CLI::App& app, parsed& p) {
  CLI::App* dev = command(app, p, "dev", "run a local cluster in the foreground, with two subscribers", nullptr);
  dev->add_option("--nodes", p.dev.nodes, "how many, on 127.0.0.11 and up [3]")->check(CLI::Range(1, 20));
  dev->add_option("--domain", p.dev.domain, "its SIP domain [skald.test]");
  dev->add_option("--dir", p.dev.dir, "where its files go [a temporary directory]");
}

// Why a command line was not understood. CLI11 says of a mistyped command only that one is missing: this names it.
failure usage_failure(const CLI::App& app, const CLI::ParseError& e, int argc, char** argv) {
  const CLI::App* at = &app;
  std::string path = "skald";
  for (int i = 1; i < argc && at->get_require_subcommand_min() > 0; ++i) {
    const std::string word = argv[i];
    if (word == "--control") ++i;
    if (word.starts_with('-')) continue;
    const CLI::App* next = nullptr;
    std::vector<std::string_view> words;
    for (const CLI::App* sub : at->get_subcommands([](const CLI::App*) { return true; })) {
      words.push_back(sub->get_name());
      if (sub->get_name() == word) next = sub;
    }
    if (next == nullptr) {
      const std::string near = nearest_word(word, words);
      return {fmt::format("unknown command \"{} {}\"", path, word), near.empty() ? path + " --help lists them" : fmt::format("did you mean \"{}\"?", near)};
    }
    at = next;
    path += " " + word;
  }
  return {e.what(), fmt::format("see: {} --help", path)};
}

} // namespace

int run_cli(int argc, char** argv) {
  CLI::App app{"skald: a self-organizing SIP cluster node", "skald"};
  parsed p;
  app.fallthrough(); // before the subcommands: they inherit it, so `skald owner X --json` works
  app.require_subcommand(1);
  app.add_flag("--json", p.context.json, "JSON for machines");
  // `run` has its own --control (where to listen); everywhere else it says whom to ask.
  add_run(app, p);
  app.add_option("--control", p.context.control, "control socket of the node to ask [the only live one]");
  add_certificates(app, p);
  add_queries(app, p);
  add_users(app, p);
  add_dev(app, p);
  const char* program = argv[0];
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e) == 0 ? exit_done : exit_usage; // --help
    for (int i = 1; i < argc; ++i)
      if (std::string_view(argv[i]) == "--json") p.context.json = true;
    return report(p.context, usage_failure(app, e, argc, argv), exit_usage);
  }
  if (app.got_subcommand("dev")) return cmd_dev(p.context, p.dev, program);
  return p.chosen ? p.chosen() : exit_usage;
}

} // namespace skald::node
