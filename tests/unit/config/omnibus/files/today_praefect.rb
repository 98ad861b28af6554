# Today's spelling, on the Praefect host.
postgresql['enable'] = false
redis['enable'] = false
nginx['enable'] = false
alertmanager['enable'] = false
prometheus['enable'] = false
puma['enable'] = false
sidekiq['enable'] = false
gitlab_workhorse['enable'] = false
gitlab_kas['enable'] = false
gitaly['enable'] = false

praefect['enable'] = true
praefect['auto_migrate'] = false
gitlab_rails['auto_migrate'] = false
consul['enable'] = true
consul['configuration'] = {
  retry_join: %w(10.0.0.31 10.0.0.32 10.0.0.33),
}
praefect['env'] = { "NTP_HOST" => "ntp.example.com" }

praefect['configuration'] = {
  # ...
  listen_addr: '0.0.0.0:2305',
  tls_listen_addr: '0.0.0.0:3305',
  prometheus_listen_addr: '0.0.0.0:9652',
  graceful_stop_timeout: '30s',
  tls: {
    certificate_path: '/etc/gitlab/ssl/cert.pem',
    key_path: '/etc/gitlab/ssl/key.pem',
  },
  auth: {
    token: 'external-aaaa',
    transitioning: false,
  },
  logging: { format: 'json', level: 'warn' },
  background_verification: {
    delete_invalid_records: false,
    verification_interval: 0,
  },
  reconciliation: {
    scheduling_interval: '1m30s',
    histogram_buckets: [0.1, 1, 10],
  },
  database: {
    host: '10.0.0.6',
    port: 6432,
    user: 'praefect',
    password: 'sql-bbbb',
    dbname: 'praefect_production',
    sslmode: 'verify-full',
    sslrootcert: '/etc/gitlab/ssl/ca.pem',
    session_pooled: {
      host: '10.0.0.5',
      port: 5432,
    },
  },
  virtual_storage: [
    {
      name: 'default',
      default_replication_factor: 2,
      node: [
        {
          storage: 'gitaly-1',
          address: 'tls://gitaly-1.example.com:9999',
          token: 'internal-cccc',
        },
        {
          storage: 'gitaly-2',
          address: 'tls://gitaly-2.example.com:9999',
          token: 'internal-cccc',
        },
        {
          storage: 'gitaly-3',
          address: 'tls://gitaly-3.example.com:9999',
          token: 'internal-cccc',
        },
      ],
    },
  ],
}
