-- Notices of what has happened to an account.

alter table auth.mails
    -- Where a notice goes: as the account had it when it happened, whatever it has become since.
    add column address text,
    drop constraint mails_kind_check,
    add constraint mails_kind_check check (
        kind in (
            'reset_password', 'verify_email', 'address_in_use', 'change_email', 'email_change_notice', 'password_changed',
            'password_reset', 'password_set', 'totp_confirmed', 'totp_removed', 'recovery_codes_generated')),
    add constraint mails_notice_check check (
        (address is not null and user_id is not null) = (
            kind in (
                'password_changed', 'password_reset', 'password_set', 'totp_confirmed', 'totp_removed',
                'recovery_codes_generated')));
