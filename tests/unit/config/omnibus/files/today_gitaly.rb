# Today's spelling, on a Gitaly host.
postgresql['enable'] = false
roles(["gitaly_role"])
gitlab_rails['auto_migrate'] = false
gitlab_rails['internal_api_url'] = 'https://gitlab.example.com'
gitlab_shell['secret_token'] = 'shell-dddd'
gitlab_shell['http_settings'] = {
  ca_file: '/etc/gitlab/ssl/ca.pem',
  read_timeout: 60,
}
node_exporter['listen_address'] = '0.0.0.0:9100'
gitaly['enable'] = true
gitaly['configuration'] = {
  listen_addr: nil, # TLS only
  tls_listen_addr: '0.0.0.0:9999',
  prometheus_listen_addr: '0.0.0.0:9236',
  tls: {
    certificate_path: '/etc/gitlab/ssl/cert.pem',
    key_path: '/etc/gitlab/ssl/key.pem',
  },
  auth: {
    token: 'internal-cccc',
  },
  storage: [
    {
      name: 'gitaly-1',
      path: '/var/opt/gitlab/git-data/repositories',
    },
  ],
  hooks: { custom_hooks_dir: '/var/opt/gitlab/gitaly/custom_hooks' },
  pack_objects_cache: { enabled: true, max_age: '10m' },
  daily_maintenance: {
    disabled: false,
    start_hour: 23,
    start_minute: 00,
    duration: '1h',
    storages: ['gitaly-1'],
  },
  concurrency: [
    {
      rpc: '/gitaly.SmartHTTPService/PostUploadPackWithSidechannel',
      max_concurrency: 20,
      max_queue_wait: '1m',
    },
  ],
  cgroups: { mountpoint: '/sys/fs/cgroup', repositories: { count: 100 } },
  git: {
    catfile_cache_size: 50,
    config: [
      { key: 'pack.threads', value: '4' },
    ],
    use_bundled_binaries: true,
  },
  logging: { dir: '/var/log/gitlab/gitaly', level: 'warn', format: 'json' },
}
